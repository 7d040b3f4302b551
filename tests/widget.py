"""widget.py - uses the memories of the pages as a reader does, in a headless Chromium.

    python3 tests/widget.py PAGE INSPECT       a page of the site with a widget, and the page of inspect with several models
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, HERE + "/support"]
from browser import Browser  # noqa: E402
from site_pages import LOOK  # noqa: E402

failed = False


def must(what, holds):
    global failed
    if not holds:
        print(f"FAIL: {what}")
        failed = True


def widget(browser, page):
    """Sets a script, a rule, a token and a step, and reads what the widget then shows."""
    browser.open("file://" + page)
    browser.run("""(() => {
        window.place = document.querySelector('.memory-widget');
        window.set = (script, rule) => { const a = place.querySelector('textarea'), r = place.querySelector('.rule'), s = place.querySelectorAll('.rule')[1];
            a.value = script; a.dispatchEvent(new Event('input')); r.value = rule; r.onchange(); s.value = ''; s.onchange(); };
        window.at = (t, step) => { const s = place.querySelector('input[type=range]'); s.value = t; s.oninput(); place.querySelectorAll('.mw-steps button')[step].click(); };
        window.cells = () => [...place.querySelectorAll('tbody tr')].map((r) => [...r.children].map((c) => c.textContent).join('|'));
        window.say = () => place.querySelector('.mw-say').textContent;
    })()""")
    browser.run("set('write a red\\nwrite b green\\nwrite a blue\\ndecay 0.5 1\\nerase b', 'gdn2')")
    for t, step, cells, say in [
            (0, 3, ["a|red|red|0", "b|0|\u2013|\u2013"], "This token reads red."),
            (2, 0, ["a|red|red|0", "b|green|green|0"], "Nothing fades: the decay is 1."),
            (2, 1, ["a|0|red|1", "b|green|green|0"], "Along e = b\u2217k the state reads red. This is taken out along k."),
            (2, 2, ["a|blue|blue|0", "b|green|green|0"], "Along k this is added: blue."),
            (3, 0, ["a|0.5 blue|blue|0.5", "b|green|green|0"], "each row is multiplied by its own decay: 0.5, 1."),
            (4, 3, ["a|0.5 blue|blue|0.5", "b|0|\u2013|\u2013"], "This token reads 0.")]:
        browser.run(f"at({t}, {step})")
        got = browser.run("cells()"), browser.run("say()")
        must(f"token {t}, step {step}: {got}", got[0] == cells and got[1] == say)
    browser.run("set('write a red\\nwrite a blue', 'linear'); at(1, 3)")
    must("linear attention is no sum", browser.run("cells()") == ["a|red + blue|blue|1"])
    browser.run("set('key a 1 0\\nwrite a red lam=0.25\\nread a dt=2 lam=0.5\\nread a angle=3.14159265', 'mamba3'); at(2, 3)")
    must("half a turn does not turn the sign", browser.run("cells()[0]").startswith("a|-1.25 red"))
    browser.run("set('write a', 'gdn2')")
    must("a wrong script is not refused", browser.run("place.querySelector('.mw-wrong').textContent") == "line 1: write: a key and a value are wanted")
    # The arrow goes from step to step, and from the last to the next token.
    browser.run("set('write a red\\nread a', 'gdn2'); at(0, 3); place.querySelector('.forth').click()")
    must("the arrow does not lead to the next token", browser.run("place.querySelector('output').textContent") == "2 of 2: read a")
    must(f"the console says {browser.messages}", not browser.messages)


def inspected(browser, page):
    for width, height in ((1400, 900), (390, 844)):
        browser.size(width, height)
        browser.open("file://" + page + "#t=3")
        wrong = browser.run(LOOK)
        must(f"{width}: {wrong}", not wrong)
        must(f"the console says {browser.messages}", not browser.messages)
        seen = browser.run("[...document.querySelectorAll('#main section:first-child .panel')].filter((e) => e.offsetWidth).length")
        must(f"{width}: {seen} panels are seen", seen == (browser.run("DATA.models.length") if width > 700 else 1))
    # Step 2 of "write a green" over red: gdn2 has erased red, Mamba-2 nothing.
    browser.run("[...document.querySelectorAll('#steps button')][1].click()")
    for i, text in ((0, "the state reads red"), (4, "Nothing is erased")):
        browser.run(f"go({{ model: {i} }})")
        said = browser.run(f"document.querySelector('#S-{i} .say').textContent")
        must(f"model {i} says {said}", text in said and "|k| 1, e\u00b7k " + ("1" if i == 0 else "0") in said)
    browser.run("go({ step: 3, model: 0 })")
    must("no read-back error", "its key reads back with error 0" in browser.run("document.querySelector('#S-0 .say').textContent"))


with Browser() as browser:
    browser.size(1400, 900)
    widget(browser, os.path.realpath(sys.argv[1]))
    inspected(browser, os.path.realpath(sys.argv[2]))
if not failed:
    print("the memories of the pages do what they show")
sys.exit(failed)
