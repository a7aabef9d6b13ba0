"""A technician in front of the virtual machine: reads what its screen shows, and presses keys.

What is on the screen is asked of the appliance (`rootstock device screen`); keys go to the machine's keyboard.
"""

import time

from process import LabError

# Names of QEMU for what is not a letter or a digit.
KEYS = {" ": "spc", "\n": "ret", "-": "minus", ".": "dot", "\t": "tab"}


class Technician:
    def __init__(self, lab, patience: float):
        self.lab, self.deadline = lab, time.monotonic() + patience

    def screen(self):
        """What the machine shows; nothing before it has told."""
        try:
            return self.lab.appliance.ask("device", "screen", self.lab.machine.serial)
        except LabError:
            return None

    def sees(self, page: str, *words: str) -> dict:
        """Waits for a page with these words on it."""
        while True:
            screen = self.screen()
            text = "\n".join(screen["text"]) if screen else ""
            if screen and screen["page"] == page and all(word in text for word in words):
                return screen
            if time.monotonic() > self.deadline or not self.lab.machine.running():
                shown = f"{screen['page']}:\n{text}" if screen else self.lab.machine.console_text()[-600:]
                raise LabError(f"the page {page} with {words} does not come; there is {shown}")
            time.sleep(0.5)

    def types(self, text: str):
        """Presses the keys of a text, on a US keyboard; a line's end is Enter."""
        for letter in text:
            key = KEYS.get(letter, letter.lower())
            self.lab.machine.press(*(["shift", key] if letter.isupper() else [key]))

    def presses(self, key: str):
        """One key by QEMU's name."""
        self.lab.machine.press(key)
