"""Write the golden texts anew."""

from tests.persona.golden import FOLDER, texts

for name, text in texts().items():
    (FOLDER / name).write_text(text, "utf-8")
