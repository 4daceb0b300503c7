"""The page in a real headless browser: what it shows, and that hostile text stays text."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.persona.synthetic import user_id
from tests.persona.web.served import HOSTILE, Served

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine"),
]


def browse(url: str, *options: str, folder: Path) -> str:
    """What the browser prints after the page has had time to load all it wants."""
    assert BROWSER is not None
    words = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder / 'profile'}", "--window-size=1200,1400"]
    words += ["--virtual-time-budget=8000", "--force-prefers-reduced-motion", *options, url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_search_card_images_and_similar_users_are_shown(server: Served, tmp_path: Path) -> None:
    url = f"{server.url}?q=a+cat+in+neon+colours#{user_id(2)}"
    shown = browse(url, "--dump-dom", folder=tmp_path)
    row = server.client.get(f"/personas/{user_id(2)}").json()
    assert row["persona"]["summary"] in shown
    for claim in row["persona"]["interests"] + row["persona"]["aesthetic"]:
        assert claim["text"] in shown
    hits = re.findall(r'class="hit"[^>]*data-user="([^"]+)"', shown)
    assert len(hits) == 12 + 5  # found, and similar
    assert shown.count('src="blob:') == 2


def test_hostile_text_stays_text(server: Served, tmp_path: Path) -> None:
    shown = browse(f"{server.url}#{user_id(0)}", "--dump-dom", folder=tmp_path)
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in shown
    assert "<title>tastegraph</title>" in shown
    assert '<img src="x"' not in shown and shown.count("<script") == 1
    odd = browse(f"{server.url}?q=%3Cimg+src=x%3E#%3Cb%3E", "--dump-dom", folder=tmp_path)
    assert "<b>" not in odd and '<img src="x"' not in odd


def test_nothing_is_loaded_from_elsewhere(server: Served) -> None:
    for path in ("/", "/page.js", "/page.css"):
        answer = server.client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert not re.findall(r"(?:https?:)?//[a-z]", answer.text)
    assert "innerHTML" not in server.client.get("/page.js").text


def screenshot(url: str, folder: Path) -> np.ndarray:
    target = folder / "page.png"
    browse(url, f"--screenshot={target}", folder=folder)
    return np.asarray(Image.open(io.BytesIO(target.read_bytes())).convert("RGB")).astype(int)


def test_a_screenshot_shows_two_columns_and_pictures(server: Served, tmp_path: Path) -> None:
    search = f"{server.url}?q=a+cat+in+neon+colours"
    pixels_YXC = screenshot(f"{search}#{user_id(2)}", tmp_path)
    assert pixels_YXC.shape == (1400, 1200, 3)
    ink_YX = np.abs(pixels_YXC - pixels_YXC[-1, 0]).sum(axis=2) > 60
    left, right = ink_YX[100:1100, 40:400].mean(), ink_YX[100:1100, 430:1160].mean()
    assert 0.02 < left < 0.6 and 0.02 < right < 0.6  # text in both, neither blank nor solid
    # The pictures are drawn: a user who posted none has a card with far less colour in it.
    without_YXC = screenshot(f"{search}#{user_id(3)}", tmp_path)
    assert colour(pixels_YXC) > 2 * colour(without_YXC)


def colour(pixels_YXC: np.ndarray) -> float:
    """Share of strongly coloured pixels."""
    return float((pixels_YXC.max(axis=2) - pixels_YXC.min(axis=2) > 60).mean())
