"""build.py - makes the course a site: one folder that a browser opens from disk.

    python3 docs/site/build.py OUT [REFERENCE [PAGE ...]]      from the root of the tree; `make course` calls it

The pages are the .md files of the tree, read by pandoc (filter.lua says what is special). A link to another page becomes one
to its .html. A link to a source becomes one to a copy of it in OUT/code. A link that leads nowhere, a picture without a text and
whatever pandoc complains about end the build with status 1. REFERENCE is the folder that `make docs` makes, if it is there. With PAGEs only these are made, and sections are not looked for.
"""

import base64
import glob
import html
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

HERE = os.path.dirname(os.path.abspath(__file__))
COURSE = "docs/course"
FORMAT = "gfm+tex_math_dollars"
# KaTeX as Debian's libjs-katex has it. Where it is not, browsers draw the equations themselves, from MathML.
KATEX = os.environ.get("KATEX", "/usr/share/javascript/katex")


class Page:
    def __init__(self, source):
        self.source = source
        self.out = "index.html" if source == COURSE + "/README.md" else re.sub(r"\.md$", ".html", source)
        with open(source, encoding="utf-8") as f:
            self.text = f.read()
        self.title = re.search(r"^# (.*)$", self.text, re.M).group(1).replace("`", "")
        self.anchors, self.links = set(), []


def pages():
    """(name of the group, its pages) in the order of the contents."""
    course = sorted(glob.glob(COURSE + "/[0-9]*.md"))
    more = [f"{COURSE}/{name}.md" for name in ("rules", "glossary", "slides")] + ["docs/teaching.md"]
    guide = ["README.md", "docs/howto.md"] + sorted(set(glob.glob("docs/*.md")) - {"docs/howto.md", "docs/teaching.md"})
    groups = [
        ("Course", [COURSE + "/README.md"] + course),
        ("Tables, slides, plans", [p for p in more if os.path.exists(p)]),
        ("Guide and studies", guide + ["CONTRIBUTING.md", "CHANGELOG.md"]),
        ("Answers", sorted(glob.glob(COURSE + "/answers/*.md"))),
    ]
    return [(name, [Page(p) for p in files]) for name, files in groups]


def fail(what):
    print("build.py: " + what, file=sys.stderr)
    sys.exit(1)


def pandoc(page):
    made = subprocess.run(
        ["pandoc", "-f", FORMAT, "-t", "html5", "--mathml", "--section-divs", "--wrap=preserve", "--lua-filter", HERE + "/filter.lua"],
        input=page.text, capture_output=True, text=True)
    if made.returncode or made.stderr:
        fail(f"{page.source}: pandoc says: {made.stderr}")
    return made.stdout


# ---- Links and pictures ----
class Site:
    def __init__(self, out, groups):
        self.out, self.groups = out, groups
        self.by_source = {p.source: p for _, group in groups for p in group}
        self.code = set()

    def write(self, path, text):
        full = os.path.join(self.out, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)

    def copy(self, path):
        full = os.path.join(self.out, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        shutil.copyfile(path, full)

    def target(self, page, link):
        """Where a link of a page leads, from that page's place in the site."""
        if re.match(r"(https?|mailto):", link):
            return link
        path, _, anchor = link.partition("#")
        if not path:
            page.links.append((page, anchor))
            return link
        path = os.path.normpath(os.path.join(os.path.dirname(page.source), path))
        if os.path.isdir(path) and path + "/README.md" in self.by_source:
            path += "/README.md"
        if path in self.by_source:
            other = self.by_source[path]
            page.links.append((other, anchor))
            path = other.out
        elif path.startswith("..") or not os.path.exists(path):
            fail(f"{page.source}: the link to {link} leads nowhere")
        else:
            path = self.show(path)
        return os.path.relpath(path, os.path.dirname(page.out) or ".") + ("#" + anchor if anchor else "")

    def show(self, path):
        """The page in code/ of a source, or of the list of a folder."""
        made = f"code/{path}/index.html" if os.path.isdir(path) else f"code/{path}.html"
        if made in self.code:
            return made
        self.code.add(made)
        if os.path.isdir(path):
            names = sorted(n for n in os.listdir(path) if n[0] != ".")
            # Sources that are not text have no page.
            rows = "".join(f"<li>{self.listed(path + '/' + n, made)}</li>" for n in names)
            body = f"<h1>{path}/</h1><ul>{rows}</ul>"
        else:
            with open(path, encoding="utf-8") as f:
                lines = f.read().rstrip("\n").split("\n")
            text = "\n".join(f'<span class="n">{i}</span>{html.escape(line)}' for i, line in enumerate(lines, 1))
            body = f'<h1>{path}</h1><pre class="source" tabindex="0">{text}</pre>'
        self.write(made, fill(self, made, path, body, "", "code"))
        return made

    def listed(self, path, place):
        text = path.endswith((".c", ".h", ".sh", ".py", ".study", ".awk", ".def", ".svg"))
        if os.path.isdir(path) or not text or path.endswith(".svg"):
            return html.escape(os.path.basename(path))
        return f'<a href="{os.path.relpath(self.show(path), os.path.dirname(place))}">{html.escape(os.path.basename(path))}</a>'

    def picture(self, page, match):
        path = os.path.normpath(os.path.join(os.path.dirname(page.source), match.group(1)))
        if not os.path.exists(path):
            fail(f"{page.source}: there is no picture {path}")
        self.copy(path)
        return 'src="' + os.path.relpath(path, os.path.dirname(page.out) or ".") + '"'

    def check_anchors(self):
        for page in self.by_source.values():
            for other, anchor in page.links:
                if anchor and anchor not in other.anchors:
                    fail(f"{page.source}: the link to {other.source}#{anchor}: there is no such section")


# ---- The frame of a page ----
def fill(site, place, source, body, around, kind):
    root = os.path.relpath(".", os.path.dirname(place) or ".") + "/"
    nav = []
    for name, group in site.groups:
        items = []
        for p in group:
            here = ' aria-current="page"' if p.out == place else ""
            title = "The whole project" if p.source == "README.md" else p.title
            items.append(f'<li><a href="{root}{p.out}"{here}>{html.escape(title)}</a></li>')
        if name == "Guide and studies" and site.reference:
            items.append(f'<li><a href="{root}reference/index.html">Reference of all functions</a></li>')
        shut = name == "Answers" and not any(p.out == place for p in group)
        inner = f'<ul>{"".join(items)}</ul>'
        nav.append(f"<details><summary>{name}</summary>{inner}</details>" if shut else f"<h2>{name}</h2>{inner}")
    title = re.sub("<[^>]*>", "", re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S).group(1))
    parts = {"TITLE": title, "ROOT": root, "SOURCE": source, "CLASS": kind, "NAV": "\n".join(nav), "BODY": body, "AROUND": around}
    return re.sub("@([A-Z]+)@", lambda m: parts[m.group(1)], site.frame)


def around(page, order):
    """Links to the pages before and after."""
    i = order.index(page)
    root = os.path.dirname(page.out) or "."
    links = []
    for j, word in ((i - 1, "&#8592; "), (i + 1, "")):
        if 0 <= j < len(order):
            end = " &#8594;" if j > i else ""
            rel = "next" if j > i else "prev"
            links.append(f'<a rel="{rel}" href="{os.path.relpath(order[j].out, root)}">{word}{html.escape(order[j].title)}{end}</a>')
    return "\n".join(links)


def run_box(page):
    command = f"sh docs/course/run.sh {page.source}"
    return (f'<div class="code sh"><div class="caption">This page is a program. Run it from the root of the tree, after make lib</div>'
            f'<pre><code>{command}</code></pre></div>\n')


def make(site, page, body, order):
    page.anchors = set(re.findall(r' id="([^"]+)"', body))
    body = re.sub(r'href="([^"]*)"', lambda m: m.group(0) if m.group(1).startswith("#cb") else
                  'href="' + site.target(page, html.unescape(m.group(1))) + '"', body)
    for tag in re.findall(r"<img[^>]*>", body):
        if not re.search(r'alt="[^"]+"', tag):
            fail(f"{page.source}: a picture without a text: {tag}")
    body = re.sub(r'src="([^"]*)"', lambda m: site.picture(page, m), body)
    body = re.sub(r'(<section\s+id="([^"]+)"[^>]*>\s*<h[23][^>]*>)(.*?)(</h[23]>)',
                  r'\1\3<a class="anchor" href="#\2" aria-label="link to this section">#</a>\4', body, flags=re.S)
    body = body.replace("<pre", '<pre tabindex="0"')
    if page.source.startswith(COURSE) and '<div class="code c">' in body:
        body = body.replace('<div class="code c">', run_box(page) + '<div class="code c">', 1)
    kind = "deck" if page.source.endswith("slides.md") else "page"
    site.write(page.out, fill(site, page.out, page.source, body, around(page, order), kind))
    return body


# ---- Search ----
class Sections(HTMLParser):
    """[anchor, heading, text] of each section of a page."""

    def __init__(self):
        super().__init__()
        self.all, self.inside, self.skip = [["", "", []]], None, 0

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "section":
            self.all.append([attrs.get("id", ""), "", []])
        if tag in ("h1", "h2", "h3"):
            self.inside = tag
        if tag == "annotation" or attrs.get("class") == "anchor":
            self.skip += 1

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = None
        if self.skip and tag in ("annotation", "a"):
            self.skip -= 1

    def handle_data(self, data):
        if self.skip:
            return
        if self.inside:
            self.all[-1][1] += data
        else:
            self.all[-1][2].append(data)


def index(site, bodies):
    rows = []
    for page, body in bodies:
        parser = Sections()
        parser.feed(body)
        for anchor, heading, text in parser.all:
            words = re.sub(r"\s+", " ", " ".join(text)).strip()
            if heading or words:
                rows.append([page.out + ("#" + anchor if anchor else ""), page.title, heading.strip(), words])
    site.write("site/search-index.js", "window.SEARCH = " + json.dumps(rows, ensure_ascii=False).replace("</", "<\\/") + ";\n")


def katex(site):
    """KaTeX in site/, its fonts inside the style sheet: some browsers read no font from disk. True if it is there."""
    try:
        with open(KATEX + "/katex.min.css", encoding="utf-8") as f:
            style = f.read()
        script = KATEX + "/katex.min.js"
        os.makedirs(site.out + "/site", exist_ok=True)
        shutil.copyfile(script, site.out + "/site/katex.js")
    except OSError:
        return False

    def inside(match):
        with open(f"{KATEX}/fonts/{match.group(1)}", "rb") as f:
            return f"src:url(data:font/woff2;base64,{base64.b64encode(f.read()).decode()})"

    site.write("site/katex.css", re.sub(r"src:url\(fonts/([\w-]+\.woff2)\)[^;}]*", inside, style))
    return True


def main():
    out, reference = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    only = sys.argv[3:]
    if not shutil.which("pandoc"):
        fail("there is no pandoc; ./deps.sh --all installs it")
    fresh = out + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    site = Site(fresh, pages())
    with open(HERE + "/page.html", encoding="utf-8") as f:
        site.frame = f.read()
    if katex(site):
        site.frame = site.frame.replace("</head>", '<link rel="stylesheet" href="@ROOT@site/katex.css">\n</head>')
        site.frame = site.frame.replace('<script src="@ROOT@site/memory', '<script src="@ROOT@site/katex.js"></script>\n<script src="@ROOT@site/memory')
    site.reference = bool(reference) and os.path.exists(reference + "/index.html")
    if site.reference:
        shutil.copytree(reference, fresh + "/reference")
    everything = [p for _, group in site.groups for p in group]
    order = [p for _, group in site.groups[:3] for p in group] + site.groups[3][1]
    wanted = [p for p in everything if not only or p.source in only]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(pandoc, wanted))
    bodies = [(page, make(site, page, body, order)) for page, body in zip(wanted, made)]
    if not only:
        site.check_anchors()
    index(site, bodies)
    for path in (HERE + "/site.css", HERE + "/site.js", "examples/inspect/memory.js", "examples/inspect/view.js"):
        shutil.copyfile(path, f"{fresh}/site/{os.path.basename(path)}")
    # The folder is exchanged when it is complete.
    shutil.rmtree(out, ignore_errors=True)
    os.replace(fresh, out)
    print(f"{out}/index.html: {len(wanted)} pages")


main()
