"""The page in a real browser: what is drawn, at the width of a desk and of a phone."""

import html
import json
import re
import shutil
import subprocess

import matplotlib.image
import pytest
from report.synthetic_runs import SyntheticRun

from slime.report.command import write_report

pytestmark = pytest.mark.browser

# Runs in a copy of the page: what only the browser knows, as text in the document.
PROBE = """<script>
window.wrong = [];
window.addEventListener("error", e => window.wrong.push(String(e.message || e.target.src)), true);
window.addEventListener("load", () => {
  const known = {
    images: [...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.clientWidth]),
    fetched: performance.getEntriesByType("resource").map(e => e.name)
      .filter(name => !name.startsWith("data:")),
    tables: [...document.querySelectorAll("table")].map(t => [t.id, t.tBodies[0].rows.length]),
    width: innerWidth,
    needed: document.documentElement.scrollWidth,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
    wrong: window.wrong,
  };
  const text = document.createElement("pre");
  text.id = "known";
  text.textContent = JSON.stringify(known);
  document.body.append(text);
});
</script>"""


@pytest.fixture(scope="module")
def chromium():
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "apt-get install chromium"
    return program


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    runs, report = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("report")
    for number, name in enumerate(("sample_mean", "token_mean", "a_rather_long_name_of_a_mode")):
        for seed in range(3):
            values = {"loss.aggregation": name}
            top = 0.5 + 0.1 * number
            SyntheticRun(seed=seed, values=values, top=top).write(runs / f"{number}{seed}")
    write_report([runs], report)
    text = (report / "index.html").read_text().replace("<head>", f"<head>{PROBE}")
    (report / "probed.html").write_text(text)
    return report / "probed.html"


def browse(chromium, page, folder, width, *flags):
    """-> what the probe saw, the console's lines, a screenshot [H, W, 4]"""
    picture = folder / f"{width}.png"
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={width},1500", *flags,
    ]  # fmt: skip
    address = page.as_uri()
    shot = [*command, f"--screenshot={picture}", address]
    subprocess.run(shot, capture_output=True, check=True, timeout=300)
    dumped = subprocess.run(
        [*command, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=300
    )
    found = re.search(r'<pre id="known">(.*?)</pre>', dumped.stdout, re.S)
    assert found, dumped.stderr
    console = [line for line in dumped.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(found[1])), console, matplotlib.image.imread(picture)


@pytest.mark.parametrize("width", [1200, 500], ids=["desk", "phone"])
def test_the_page_renders(chromium, page, tmp_path, width):
    known, console, picture = browse(chromium, page, tmp_path, width)
    assert known["wrong"] == []
    assert console == []
    assert known["fetched"] == []
    assert len(known["images"]) >= 12
    assert all(w > 0 and h > 0 and shown > 200 for w, h, shown in known["images"])
    assert dict(known["tables"])["final"] == 3
    assert dict(known["tables"])["pairs"] == 3
    assert known["needed"] <= known["width"]  # only tables scroll sideways
    colours = {tuple(c) for row in (picture[::4, ::4, :3] * 16).round() for c in row}
    assert len(colours) > 30


def test_it_is_dark_where_the_reader_wants_it_dark(chromium, page, tmp_path):
    def brightness(colour):
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    light, _, shown_light = browse(chromium, page, tmp_path, 1200)
    dark, _, shown_dark = browse(
        chromium, page, tmp_path, 1201, "--blink-settings=preferredColorScheme=0"
    )
    assert brightness(light["paper"]) > 600 > 200 > brightness(light["ink"])
    assert brightness(dark["paper"]) < 200 < 600 < brightness(dark["ink"])
    assert shown_light[:, :, :3].mean() > 0.8
    assert shown_dark[:, :, :3].mean() < 0.3
