"""Types into the input method of a running IBus as a program would: keys as arguments; prints what was committed."""

import sys

import gi

gi.require_version("IBus", "1.0")
from gi.repository import GLib, IBus  # noqa: E402

IBus.init()
bus = IBus.Bus()
context = bus.create_input_context("haina-test")
context.set_capabilities(IBus.Capabilite.PREEDIT_TEXT | IBus.Capabilite.FOCUS)
loop = GLib.MainLoop()
said: list[str] = []
shown: list[str] = []
context.connect("commit-text", lambda _context, text: said.append(text.get_text()))
context.connect("update-preedit-text", lambda _context, text, *_: shown.append(text.get_text()))
context.focus_in()
context.set_engine("haina-pinyin")


def press() -> bool:
    for key in sys.argv[1:]:
        context.process_key_event(IBus.keyval_from_name(key), 0, 0)
    GLib.timeout_add(300, loop.quit)
    return False


GLib.timeout_add(1000, press)  # the engine is made when it is first asked for
GLib.timeout_add(20_000, loop.quit)
loop.run()
print("".join(said))
