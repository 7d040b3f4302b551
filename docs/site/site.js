/* site.js - what the pages of the site do by themselves: theme, contents, copy, search, slides. No network, no framework. */
'use strict';
(() => {
  const $ = (id) => document.getElementById(id), root = document.body.dataset.root;
  const store = (() => { try { return window.localStorage; } catch (e) { return null; } })(); // a browser may forbid it on disk

  // ---- Equations: the browser's own MathML stays where KaTeX is not shipped ----
  if (window.katex) for (const math of document.querySelectorAll('math')) {
    const text = math.querySelector('annotation').textContent, place = document.createElement('span');
    window.katex.render(text, place, { displayMode: math.getAttribute('display') === 'block', throwOnError: false });
    place.className = 'tex';
    math.replaceWith(place);
  }

  // ---- Light and dark ----
  const dark = () => document.documentElement.dataset.theme === 'dark';
  function theme(name) {
    document.documentElement.dataset.theme = name;
    $('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
    dispatchEvent(new Event('theme'));
  }
  let kept = null;
  try { kept = store && store.getItem('theme'); } catch (e) { kept = null; }
  theme(kept || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
  $('theme').onclick = () => {
    theme(dark() ? 'light' : 'dark');
    try { if (store) store.setItem('theme', dark() ? 'dark' : 'light'); } catch (e) { /* then it is asked again */ }
  };

  // ---- Contents on a phone ----
  $('menu').onclick = () => $('menu').setAttribute('aria-expanded', $('contents').classList.toggle('open'));
  $('print').onclick = () => print();

  // ---- Copy ----
  for (const box of document.querySelectorAll('.code')) {
    const button = document.createElement('button');
    button.className = 'copy';
    button.textContent = 'Copy';
    button.onclick = () => {
      const text = box.querySelector('pre').textContent, said = (word) => { button.textContent = word; setTimeout(() => { button.textContent = 'Copy'; }, 1500); };
      if (navigator.clipboard && isSecureContext) navigator.clipboard.writeText(text).then(() => said('Copied'), () => said(old(text)));
      else said(old(text));
    };
    if (!box.classList.contains('text')) box.append(button);
  }
  function old(text) { // where there is no clipboard, as in a page from disk
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done ? 'Copied' : 'Not copied';
  }

  // ---- Search: all words have to be in a section; a title counts more, and so do words side by side ----
  function load(then) {
    if (window.SEARCH) { then(); return; }
    const script = document.createElement('script');
    script.src = root + 'site/search-index.js';
    script.onload = then;
    document.head.append(script);
  }
  function find(query) {
    const words = query.toLowerCase().split(/\s+/).filter((w) => w);
    const hits = [];
    for (const [url, page, heading, text] of window.SEARCH) {
      const title = (page + ' ' + heading).toLowerCase(), all = title + ' ' + text.toLowerCase();
      if (!words.length || !words.every((w) => all.includes(w))) continue;
      let score = url.startsWith('docs/course/answers') ? -3 : url.startsWith('docs/course') ? 2 : 0;
      if (all.includes(words.join(' '))) score += 5;
      for (const w of words) if (title.includes(w)) score += 4;
      hits.push({ url, page, heading, text, score, at: Math.max(0, text.toLowerCase().indexOf(words.length > 1 && all.includes(words.join(' ')) ? words.join(' ') : words[0])) });
    }
    return hits.sort((a, b) => b.score - a.score);
  }
  function show() {
    const query = $('query').value.trim(), box = $('found');
    box.hidden = query.length < 2;
    if (box.hidden) return;
    const hits = find(query);
    box.replaceChildren();
    const count = document.createElement('p');
    count.textContent = hits.length ? `${hits.length} section${hits.length > 1 ? 's' : ''}` : 'nothing found';
    box.append(count);
    for (const hit of hits.slice(0, 20)) {
      const a = document.createElement('a'), small = document.createElement('small');
      a.href = root + hit.url;
      a.textContent = hit.heading && hit.heading !== hit.page ? `${hit.page}: ${hit.heading}` : hit.page;
      small.textContent = hit.text.slice(Math.max(0, hit.at - 60), hit.at + 140);
      a.append(small);
      box.append(a);
    }
  }
  $('query').onfocus = () => load(show);
  $('query').oninput = () => load(show);
  $('search').onsubmit = (e) => {
    e.preventDefault();
    const first = $('found').querySelector('a');
    if (first) location.href = first.href;
  };
  addEventListener('click', (e) => { if (!$('found').contains(e.target) && e.target !== $('query')) $('found').hidden = true; });

  // ---- Slides: one section at a time ----
  let now = -1;
  const parts = () => {
    const top = document.querySelector('main > section');
    return top ? [[...top.children].filter((c) => c.tagName !== 'SECTION'), ...[...top.children].filter((c) => c.tagName === 'SECTION').map((c) => [c])] : [];
  };
  function turn(to) {
    const all = parts();
    now = Math.max(0, Math.min(all.length - 1, to));
    all.forEach((part, i) => part.forEach((c) => c.classList.toggle('off', i !== now)));
    $('where').textContent = `${now + 1} / ${all.length}`;
    scrollTo(0, 0);
    dispatchEvent(new Event('resize'));
  }
  function slides(on) {
    document.body.classList.toggle('slide-view', on);
    $('turn').hidden = !on;
    if (on) { turn(Math.max(0, now)); return; }
    document.querySelectorAll('.off').forEach((c) => c.classList.remove('off'));
    now = -1;
    dispatchEvent(new Event('resize'));
  }
  $('slides').onclick = () => slides(true);
  $('leave').onclick = () => slides(false);
  $('back').onclick = () => turn(now - 1);
  $('forth').onclick = () => turn(now + 1);
  addEventListener('keydown', (e) => {
    if (e.key === '/' && !/INPUT|TEXTAREA|SELECT/.test(e.target.tagName)) { e.preventDefault(); $('query').focus(); }
    if (e.key === 'Escape') { $('found').hidden = true; if (now >= 0) slides(false); }
    if (now < 0 || /INPUT|TEXTAREA|SELECT/.test(e.target.tagName)) return;
    if (e.key === 'ArrowRight' || e.key === 'PageDown' || e.key === ' ') { e.preventDefault(); turn(now + 1); }
    if (e.key === 'ArrowLeft' || e.key === 'PageUp') { e.preventDefault(); turn(now - 1); }
  });
  if (document.body.classList.contains('deck') || location.hash === '#slides') slides(true);

  // ---- Memories to play with ----
  for (const place of document.querySelectorAll('.memory-widget')) Memory.widget(place, place.textContent);
})();
