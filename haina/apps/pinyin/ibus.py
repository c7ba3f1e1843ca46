"""The input method for IBus desktops: `haina serve` gives the candidates, this program puts them under the cursor.

    python3 ibus.py --xml | sudo tee /usr/share/ibus/component/haina.xml   # then choose 海纳拼音 in IBus' settings

IBus starts it with the Python of the desktop, which has PyGObject; nothing of haina's but desktop.py beside it is
needed. It knows widgets and keys' codes; what keys do, desktop.py says.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from pathlib import Path
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("IBus", "1.0")
from gi.repository import GLib, GObject, IBus  # type: ignore[import-not-found]  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from desktop import PAGE, URL, Keyboard, service  # type: ignore[import-not-found]  # noqa: E402

PAUSE_MS = 80  # after the last key, before the network is asked
NAME, BUS = "haina-pinyin", "org.freedesktop.IBus.Haina"
_HELD = IBus.ModifierType.CONTROL_MASK | IBus.ModifierType.MOD1_MASK | IBus.ModifierType.SUPER_MASK


class Engine(IBus.Engine):  # type: ignore[misc]
    """One cursor."""

    __gtype_name__ = "HainaPinyinEngine"

    def __init__(self) -> None:
        super().__init__()
        ask, teach = service(os.environ.get("HAINA_INPUT_URL", URL), os.environ.get("HAINA_API_KEY", ""))
        self._keyboard = Keyboard(ask, self._commit, teach, os.environ.get("HAINA_SCHEME", "full"))
        self._pause = 0

    def do_process_key_event(self, keyval: int, _keycode: int, state: int) -> bool:
        if state & IBus.ModifierType.RELEASE_MASK or state & _HELD:
            return False
        char = IBus.keyval_to_unicode(keyval)
        name = char if char and char > " " else IBus.keyval_name(keyval) or ""
        ours = bool(self._keyboard.press(name))
        self._show()
        if self._pause:
            GLib.source_remove(self._pause)
        self._pause = GLib.timeout_add(PAUSE_MS, self._better)
        return ours

    def do_focus_out(self) -> None:
        self.do_reset()

    def do_reset(self) -> None:
        self._keyboard.reset()
        self._show()

    def do_page_up(self) -> None:
        self._keyboard.press("Page_Up")
        self._show()

    def do_page_down(self) -> None:
        self._keyboard.press("Page_Down")
        self._show()

    def do_candidate_clicked(self, index: int, _button: int, _state: int) -> None:
        self._keyboard.press(str(index + 1))
        self._show()

    def _commit(self, text: str) -> None:
        self.commit_text(IBus.Text.new_from_string(text))

    def _better(self) -> bool:
        """The network takes its time beside the keys."""
        self._pause = 0

        def ask() -> None:
            if self._keyboard.better():
                GLib.idle_add(self._show)

        threading.Thread(target=ask, daemon=True).start()
        return False

    def _show(self) -> None:
        shown = self._keyboard.shown()
        text = IBus.Text.new_from_string(shown.preedit)
        self.update_preedit_text(text, len(shown.preedit), bool(shown.preedit))
        table = IBus.LookupTable.new(PAGE, shown.marked, True, False)
        for candidate in shown.candidates:
            table.append_candidate(IBus.Text.new_from_string(candidate))
        self.update_lookup_table(table, bool(shown.candidates))


def component(command: str) -> Any:
    """What IBus has to know."""
    found = IBus.Component.new(
        BUS, "海纳拼音 haina pinyin", "0.1", "Apache-2.0", "haina", "", command, "haina"
    )
    engine = IBus.EngineDesc.new(NAME, "海纳拼音", "haina pinyin", "zh", "Apache-2.0", "haina", "", "default")
    found.add_engine(engine)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--xml", action="store_true", help="print the component file of IBus")
    parser.add_argument("--ibus", action="store_true", help="started by IBus")
    asked = parser.parse_args()
    if asked.xml:
        described = component(f"{sys.executable} {Path(__file__).resolve()} --ibus")
        pieces = GLib.String.new("")
        described.output(pieces, 0)
        print(f'<?xml version="1.0" encoding="utf-8"?>\n{pieces.str}')
        return
    IBus.init()
    bus = IBus.Bus()
    if not bus.is_connected():
        sys.exit("no IBus daemon; start one: ibus-daemon -drx")
    loop = GLib.MainLoop()
    bus.connect("disconnected", lambda _bus: loop.quit())
    factory = IBus.Factory.new(bus.get_connection())
    factory.add_engine(NAME, GObject.type_from_name("HainaPinyinEngine"))
    if asked.ibus:
        bus.request_name(BUS, 0)
    else:
        bus.register_component(component(""))
    loop.run()


if __name__ == "__main__":
    main()
