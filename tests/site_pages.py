"""site_pages.py - opens the pages of the site that `make course` makes, in a headless Chromium.

    python3 tests/site_pages.py FOLDER [PAGE ...]     all pages, or these: on a desktop and on a phone, light and dark

What is asked of each page: nothing is wider than the window, no request leaves the folder, the console is silent, every equation
is drawn, every link leads to a file and a section that are there, pictures have texts, and colours have a contrast of 4.5.
"""

import glob
import os
import re
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "support"))
from browser import Browser  # noqa: E402

SIZES = [(1400, 900), (390, 844)]

LOOK = r"""
(() => {
  const wrong = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width + 1) wrong.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const scrolls = (e) => { for (; e && e !== document.body; e = e.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)) return true; return false; };
  for (const e of document.querySelectorAll('main *')) {
    const box = e.getBoundingClientRect();
    if (box.width && box.right > width + 1 && !scrolls(e)) { wrong.push(`<${e.tagName.toLowerCase()} class="${e.className}"> ends at ${Math.round(box.right)}`); break; }
  }
  for (const e of document.querySelectorAll(window.katex ? '.tex, main math' : 'math')) {
    if (e.closest('.katex-mathml')) continue;
    const box = (e.querySelector('.katex-html') || e).getBoundingClientRect();
    if (!e.closest('.off') && !(box.width > 2 && box.height > 2) || e.querySelector('merror, .katex-error') || window.katex && !e.querySelector('.katex-html'))
      wrong.push('an equation is not drawn: ' + e.textContent.slice(0, 60));
  }
  for (const e of document.querySelectorAll('img')) {
    if (!(e.alt || '').trim()) wrong.push('no text for ' + e.src);
    if (!(e.complete && e.naturalWidth)) wrong.push('no picture ' + e.src);
  }
  for (const e of document.querySelectorAll('button, input, select, textarea, canvas'))
    if (!(e.getAttribute('aria-label') || e.textContent.trim() || e.labels && e.labels.length)) wrong.push('no name for ' + e.outerHTML.slice(0, 80));
  // Contrast, as in WCAG 2: of each text with the background behind it.
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = (c) => { const f = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.5) return c; } return [255, 255, 255, 1]; };
  const seen = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.getClientRects().length || /SCRIPT|STYLE|ANNOTATION/i.test(e.tagName) || e.closest('svg, .anchor, .katex-mathml')) continue;
    const front = parse(getComputedStyle(e).color), back = behind(e), a = light(front), b = light(back);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), key = front + '/' + back;
    if (ratio < 4.5 && !seen.has(key)) { seen.add(key); wrong.push(`a contrast of ${ratio.toFixed(1)}: ${n.textContent.trim().slice(0, 40)} (${e.className})`); }
  }
  return wrong;
})()
"""


def anchors(path, known={}):
    if path not in known:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        known[path] = set(re.findall(r'\bid="([^"]+)"', text)) | set(re.findall(r'\bname="([^"]+)"', text))
    return known[path]


def links(browser, folder):
    wrong = []
    for link in browser.run("[...document.querySelectorAll('a[href]')].map((a) => a.href)"):
        url = urllib.parse.urlparse(link)
        if url.scheme in ("http", "https", "mailto"):
            continue
        path, part = urllib.parse.unquote(url.path), urllib.parse.unquote(url.fragment)
        if url.scheme != "file" or not os.path.isfile(path) or not os.path.realpath(path).startswith(folder + "/"):
            wrong.append(f"a link leads nowhere: {link}")
        elif part and part not in anchors(path):
            wrong.append(f"a link leads to no section: {link}")
    return wrong


def look(browser, folder, page):
    """What is wrong with a page, in words."""
    wrong = []
    for width, height in SIZES:
        browser.size(width, height)
        browser.open("file://" + page)
        for theme in ("light", "dark"):
            if browser.run("document.documentElement.dataset.theme") != theme:
                browser.run("document.getElementById('theme').click()")
            if browser.run("document.documentElement.dataset.theme") != theme:
                wrong.append(f"no theme {theme}")
            wrong += [f"{width} {theme}: {what}" for what in browser.run(LOOK)]
        left = [r for r in browser.requests if not r.startswith(("file://" + folder, "data:"))]
        wrong += [f"a request leaves the folder: {r}" for r in left]
        wrong += [f"the console says: {m}" for m in browser.messages]
    return wrong + links(browser, folder)


def search(browser, folder, words, page):
    """Types words into the search of the first page; whether one of the first hits is on `page`."""
    browser.open(f"file://{folder}/index.html")
    hits = browser.run("""new Promise((done) => {
        const box = document.getElementById('query'); box.focus(); box.value = %r; box.dispatchEvent(new Event('input'));
        let tries = 0;
        const ask = () => { const a = [...document.querySelectorAll('#found a')].map((e) => e.href);
            if (a.length || tries++ > 20) done(a); else setTimeout(ask, 50); };
        ask(); })""" % words)
    return any(page in hit for hit in hits[:5])


def main():
    folder = os.path.realpath(sys.argv[1])
    pages = [os.path.join(folder, p) for p in sys.argv[2:]]
    if not pages:
        pages = [p for p in sorted(glob.glob(folder + "/**/*.html", recursive=True)) if not p.startswith(folder + "/reference/")]
    bad = 0
    with Browser() as browser:
        for page in pages:
            for what in look(browser, folder, page):
                print(f"{os.path.relpath(page, folder)}: {what}")
                bad += 1
        if not sys.argv[2:] or "index.html" in sys.argv[2:]:
            if not search(browser, folder, "erase gate", "06_erase_and_write.html"):
                print('the search does not find "erase gate" on page 6')
                bad += 1
            if search(browser, folder, "zyzzyva", "html"):
                print("the search finds what is not there")
                bad += 1
    print(f"{len(pages)} pages, {bad} faults")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
