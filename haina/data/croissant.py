"""croissant.json: the corpus described for other tools, in MLCommons' Croissant 1.0 (docs.mlcommons.org/croissant).

JSON-LD over schema.org: which files there are and which fields their rows have. It does not know how they were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haina.data.recipe import Recipe

VERSION = "http://mlcommons.org/croissant/1.0"
_FIELDS = {
    "text": ("sc:Text", "the text, of a conversation absent"),
    "id": ("sc:Text", "unique within a source"),
    "source": ("sc:Text", "a name among the sources of manifest.json"),
    "licence": ("sc:Text", "of this document"),
    "language": ("sc:Text", "zh, en, mixed or other"),
    "domain": ("sc:Text", "what a share of the training text is counted by"),
    "weight": ("sc:Float", "how often to sample the document"),
}
# The standard context of Croissant 1.0, which files repeat word for word.
_PLAIN = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset"
    " jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source"
    " subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _PLAIN.split()},
}


def croissant(recipe: Recipe, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-LD of a corpus that `manifest` describes."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": recipe.name,
        "description": recipe.description or f"Text for training language models: {recipe.name}",
        "license": sorted(manifest["licences"]) or ["unknown"],
        "version": "1.0.0",
        "citeAs": f"{recipe.name}, a corpus made by {manifest['made']}",
        "creator": {"@type": "sc:Organization", "name": manifest["made"]},
        "datePublished": max((source.date for source in recipe.source), default="") or "1970-01-01",
        "url": "https://schema.org/Dataset",
        "isBasedOn": [_origin(source) for source in manifest["sources"].values()],
        "distribution": [_file(name, about) for name, about in manifest["files"].items()],
        "recordSet": [_records(name) for name in manifest["files"]],
    }


def _origin(source: Mapping[str, Any]) -> dict[str, Any]:
    at = source.get("git") or source.get("url")
    found = {"@type": "sc:CreativeWork", "license": source.get("licence", "unknown")}
    return found | ({"url": at} if at else {}) | ({"version": source["commit"]} if "commit" in source else {})


def _file(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{about['bytes']} B",
        "encodingFormat": "application/jsonlines",
        "sha256": about["sha256"],
    }


def _records(file: str) -> dict[str, Any]:
    name = file.removeprefix("documents/").removesuffix(".jsonl.zst")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field}",
                "name": f"{name}/{field}",
                "description": about,
                "dataType": kind,
                "source": {"fileObject": {"@id": file}, "extract": {"column": field}},
            }
            for field, (kind, about) in _FIELDS.items()
        ],
    }
