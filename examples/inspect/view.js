/*
 * view.js - how a memory is drawn: maps on canvas, bars as SVG, numbers and words. Used by the page of inspect, and by the
 * widget of the course at the end, which needs memory.js.
 */
'use strict';
const View = (() => {
  const LEFT = 38, BOTTOM = 18; // LEFT is the room for names on the left of all
  const most = (x) => { let m = 0; for (const v of x) if (Math.abs(v) > m) m = Math.abs(v); return m; };
  function show(x) {
    if (!Number.isFinite(x)) return '\u2013';
    if (Math.abs(x) < 1e-9) return '0';
    return Math.abs(x) >= 1e4 || Math.abs(x) < 1e-3 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
  }
  const STOPS = [[33, 102, 172], [146, 197, 222], [255, 255, 255], [244, 165, 130], [178, 24, 43]];
  function colour(x) { // -1 blue, 0 white, 1 red
    if (!Number.isFinite(x)) return [238, 240, 243];
    const p = (Math.max(-1, Math.min(1, x)) + 1) * 2, i = Math.min(3, Math.floor(p)), f = p - i;
    return STOPS[i].map((c, j) => Math.round(c + (STOPS[i + 1][j] - c) * f));
  }
  const css = (x) => 'rgb(' + colour(x).join() + ')';
  const words = (s, n) => s.length > n ? s.slice(0, n - 1) + '\u2026' : s;
  const escape = (s) => s.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));
  const named = (list, i) => i < list.length && list[i] ? list[i] : String(i);
  function names(g, list, count, step, cell, place) { // every one where there is room, else the first and the last
    const room = cell >= step;
    for (let i = 0; i < count; i++) if (room || i === 0 || i === count - 1) place(words(list(i), room ? Math.max(2, Math.floor(step === 11 ? LEFT / 6.6 : cell / 6.6)) : 5), (i + 0.5) * cell);
  }
  function map(canvas, x, rows, cols, scale, mark, width, rowName, colName, marked = 1, numbers = false) {
    const cell = Math.min(46, (width - LEFT - 10) / cols, 440 / rows), dpr = window.devicePixelRatio || 1;
    const w = cols * cell, h = rows * cell, W = Math.ceil(w + LEFT + 10), H = Math.ceil(h + BOTTOM), g = canvas.getContext('2d');
    const ink = getComputedStyle(canvas).color;
    canvas.width = W * dpr; canvas.height = H * dpr;
    canvas.style.width = W + 'px'; canvas.style.height = H + 'px';
    const small = document.createElement('canvas'), s = small.getContext('2d');
    small.width = cols; small.height = rows;
    const image = s.createImageData(cols, rows);
    for (let i = 0; i < rows * cols; i++) image.data.set([...colour(x(i) / scale), 255], 4 * i);
    s.putImageData(image, 0, 0);
    g.scale(dpr, dpr);
    g.imageSmoothingEnabled = false;
    g.font = '11px system-ui, sans-serif'; g.fillStyle = ink;
    g.textAlign = 'right'; g.textBaseline = 'middle';
    names(g, rowName, rows, 11, cell, (word, at) => g.fillText(word, LEFT - 5, Math.max(6, at)));
    g.textAlign = 'center';
    names(g, colName, cols, 17, cell, (word, at) => g.fillText(word, LEFT + at, h + 10));
    g.translate(LEFT, 0);
    g.drawImage(small, 0, 0, w, h);
    if (cell >= 7) {
      g.strokeStyle = '#0002'; g.lineWidth = 0.5; g.beginPath();
      for (let i = 0; i <= cols; i++) { g.moveTo(i * cell, 0); g.lineTo(i * cell, h); }
      for (let i = 0; i <= rows; i++) { g.moveTo(0, i * cell); g.lineTo(w, i * cell); }
      g.stroke();
    }
    if (numbers && cell >= 34) for (let i = 0; i < rows * cols; i++) {
      g.fillStyle = Math.abs(x(i) / scale) > 0.6 ? '#fff' : '#1b1f24';
      if (Math.abs(x(i)) >= 5e-4) g.fillText(show(x(i)), (i % cols + 0.5) * cell, (Math.floor(i / cols) + 0.5) * cell);
    }
    g.strokeStyle = '#8a94a0'; g.lineWidth = 1; g.strokeRect(0.5, 0.5, w - 1, h - 1);
    if (mark >= 0) { g.strokeStyle = '#e8590c'; g.lineWidth = 2; g.strokeRect(1, mark * cell, w - 2, Math.max(2, marked * cell)); }
    return cell;
  }
  const text = (x, y, word, anchor = 'start') => `<text x="${x}" y="${y}" text-anchor="${anchor}">${escape(word)}</text>`;
  const svg = (W, H, inside) => `<svg viewBox="0 0 ${W} ${H}" style="width:${W}px">${inside}</svg>`;
  function legend(scale, width) {
    const W = Math.min(width, 260), from = 54, to = W - 54, id = 'ramp' + Math.round(W);
    return svg(W, 24, `<defs><linearGradient id="${id}">` +
      [-1, -0.5, 0, 0.5, 1].map((v) => `<stop offset="${50 * (v + 1)}%" stop-color="${css(v)}"/>`).join('') +
      `</linearGradient></defs><rect x="${from}" y="5" width="${to - from}" height="11" fill="url(#${id})" stroke="#8a94a0" stroke-width=".5"/>` +
      text(from - 5, 15, show(-scale), 'end') + text(to + 5, 15, show(scale)));
  }
  /* count: bars that there is room for, of which x has the first */
  function bars(x, { W, count = x.length, top = 1, low = 0, label, names: named_ = false, fill = '#2166ac', height = 56, title = '', now = -1 }) {
    const H = height + (named_ ? 16 : 4) + 16, y = (v) => 14 + height * (1 - (v - low) / (top - low)), each = (W - LEFT - 2) / count;
    let out = text(LEFT, 10, title) + text(LEFT - 4, 22, show(top), 'end') + text(LEFT - 4, 14 + height, show(low), 'end') +
      `<path d="M${LEFT} 14H${W - 2}M${LEFT} ${y(0)}H${W - 2}" stroke="#d7dce2"/>`;
    x.forEach((value, i) => {
      const v = Number.isFinite(value) ? Math.max(low, Math.min(top, value)) : 0, at = LEFT + i * each, a = y(Math.max(0, v)), b = y(Math.min(0, v));
      const paint = i === now ? '#e8590c' : typeof fill === 'function' ? fill(v) : fill;
      out += `<rect x="${(at + each * 0.08).toFixed(2)}" y="${a.toFixed(2)}" width="${(each * 0.84).toFixed(2)}" height="${Math.max(0.6, b - a).toFixed(2)}" fill="${paint}"><title>${escape(label(i))}: ${show(value)}</title></rect>`;
      if (named_ && (each > 20 || label(i).length * 6.4 < each + 1)) out += text(at + each / 2, H - 4, words(label(i), Math.max(1, Math.floor(each / 6.4))), 'middle');
    });
    return svg(W, H, out);
  }
  /* A vector of values by the names of its channels: "red + 0.5 blue". */
  function said(x, list) {
    const parts = [];
    x.forEach((v, c) => { if (Math.abs(v) >= 5e-4) parts.push(show(v) + ' ' + named(list, c)); });
    return parts.length ? parts.join(' + ').replace(/\+ -/g, '\u2212 ').replace(/(^| )1 (?=[^\d])/g, '$1') : '0';
  }

  // ---- The steps of a token ----
  const STEPS = ['decay', 'erase', 'write', 'read'];
  /* The state after a step, and a sentence about it. o is what the token reads. */
  function step(h, t, name, axes, o) {
    const s = Memory.steps(h, t), all = Array.from({ length: h.K }, (_, c) => h.decay(t, c)), same = all.every((a) => a === all[0]);
    const { ek } = Memory.lengths(h, t), z = Array.from(h.z.subarray(t * h.R * h.V, (t * h.R + 1) * h.V)).map((v) => v * h.now(t));
    const late = h.late(t) && t > 0 && h.z.subarray((t - 1) * h.R * h.V, t * h.R * h.V).some((v) => v !== 0) ? 'The rest of the last write comes, and then ' : '';
    switch (name) {
    case 'decay': return { S: s.decayed, say: all.every((a) => a === 1) ? (late ? late + 'nothing fades.' : 'Nothing fades: the decay is 1.') :
      late + (same ? `the whole state is multiplied by ${show(all[0])}.` : `each row is multiplied by its own decay: ${all.slice(0, 8).map(show).join(', ')}${h.K > 8 ? ', \u2026' : ''}.`) };
    case 'erase': return { S: s.erased, say: !h.erase || ek === 0 ? 'Nothing is erased.' :
      `Along e = b\u2217k the state reads ${words(said(s.reads, axes.value), 60)}. This is taken out along k.` };
    case 'write': return { S: s.written, say: z.every((v) => Math.abs(v) < 1e-12) || !Memory.lengths(h, t).k ? 'Nothing is written.' : `Along k this is added: ${words(said(z, axes.value), 60)}.` };
    default: return { S: s.written, say: `This token reads ${words(said(Array.from(o), axes.value), 80)}.` };
    }
  }
  return { LEFT, most, show, colour, css, words, escape, named, map, text, svg, legend, bars, said, STEPS, step };
})();

// ---- The widget of the course ----
Memory.widget = (place, text) => {
  const { show, escape, STEPS } = View, rules = (text.match(/^# rules? ([a-z0-9, ]+)$/m) || ['', 'gdn2'])[1].split(/[, ]+/).filter((r) => r).slice(0, 2);
  const state = { t: 0, step: 3, rules: [rules[0], rules[1] || ''], script: null, heads: [] };
  const options = (none) => (none ? '<option value="">no second rule</option>' : '') + Memory.RULES.map((r) => `<option value="${r.name}">${escape(r.title)}</option>`).join('');
  const rows = text.trim().split('\n').length;
  place.innerHTML = `<div class="mw-bar"><label>Rule <select class="rule">${options(false)}</select></label>
    <label>beside <select class="rule">${options(true)}</select></label></div>
    <div class="mw-bar"><button class="back" aria-label="step back">\u25c0</button><input type="range" min="0" value="0" aria-label="token">
    <button class="forth" aria-label="step forth">\u25b6</button></div>
    <div class="mw-bar mw-steps" role="group" aria-label="step of the token">${STEPS.map((s) => `<button>${s}</button>`).join('')}<output></output></div>
    <div class="mw-panels"></div>
    <details><summary>Change the sequence</summary><textarea rows="${Math.min(16, rows + 1)}" spellcheck="false" aria-label="script: keys, values and gates"></textarea></details>
    <p class="mw-wrong" role="alert" hidden></p>`;
  const $ = (s) => place.querySelector(s), all = (s) => [...place.querySelectorAll(s)];
  const area = $('textarea'), slider = $('input[type=range]'), selects = all('.rule'), buttons = all('.mw-steps button');
  area.value = text.trim() + '\n';
  selects.forEach((s, i) => { s.value = state.rules[i]; s.onchange = () => { state.rules[i] = s.value; compute(); }; });

  function axes(script) {
    const name = (list) => { const out = []; for (const n of list) { const c = n.x.findIndex((v) => v === 1); if (c >= 0 && n.x.filter((v) => v !== 0).length === 1 && !out[c]) out[c] = n.word; } return out; };
    return { key: name(script.keys), value: name(script.values) };
  }
  function compute() {
    try {
      state.script = Memory.parse(area.value);
      state.heads = state.rules.filter((r) => r).map((r) => Memory.run(state.script, r));
      $('.mw-wrong').hidden = true;
    } catch (e) {
      $('.mw-wrong').textContent = e.message;
      $('.mw-wrong').hidden = false;
      return;
    }
    slider.max = state.script.lines.length - 1;
    go(Math.min(state.t, state.script.lines.length - 1), state.step);
  }
  /* What each key reads, and what was written with it last. */
  function table(h, S, axis) {
    const last = state.script.keys.map(() => null);
    for (let s = 0; s <= state.t; s++) { const l = state.script.lines[s]; if (l.verb === 'write' && (s < state.t || state.step >= 2)) last[l.key] = state.script.values[l.value]; if (l.verb === 'erase' && (s < state.t || state.step >= 1)) last[l.key] = null; }
    return '<table><thead><tr><th>key</th><th>reads</th><th>written last</th><th>error</th></tr></thead><tbody>' + state.script.keys.map((key, i) => {
      const r = Memory.reading(S, h.K, h.V, Memory.turned(key.x, h.phi[state.t]));
      const error = last[i] ? Memory.norm(r.map((v, c) => v - last[i].x[c])) / Memory.norm(last[i].x) : NaN;
      return `<tr><th scope="row">${escape(key.word)}</th><td>${escape(View.words(View.said(r, axis.value), 60))}</td><td>${last[i] ? escape(last[i].word) : '\u2013'}</td><td>${show(error)}</td></tr>`;
    }).join('') + '</tbody></table>';
  }
  function draw() {
    const { t, script, heads } = state, axis = axes(script), line = script.lines[t], panels = $('.mw-panels');
    slider.value = t;
    slider.setAttribute('aria-valuetext', line.text);
    $('output').textContent = `${t + 1} of ${script.lines.length}: ${line.text}`;
    buttons.forEach((b, i) => b.setAttribute('aria-pressed', i === state.step));
    while (panels.children.length > heads.length) panels.lastChild.remove();
    heads.forEach((h, i) => {
      if (!panels.children[i]) panels.insertAdjacentHTML('beforeend', '<div class="mw-panel"><h4></h4><p class="mw-rule"></p><canvas role="img"></canvas><p class="mw-say"></p><p class="mw-numbers"></p><div class="wide"></div></div>');
      const el = panels.children[i], rule = Memory.RULES.find((r) => r.name === h.rule), o = h.o.subarray(t * h.V, (t + 1) * h.V);
      const { S, say } = View.step(h, t, STEPS[state.step], axis, o), { k, ek } = Memory.lengths(h, t), canvas = el.querySelector('canvas');
      el.querySelector('h4').textContent = rule.title;
      el.querySelector('.mw-rule').textContent = rule.text;
      View.map(canvas, (n) => S[n], h.K, h.V, View.most(h.S) || 1, -1, Math.min(el.clientWidth - 4, 420), (c) => View.named(axis.key, c), (c) => View.named(axis.value, c), 1, true);
      canvas.setAttribute('aria-label', `The state after the step ${STEPS[state.step]}: ${h.K} rows for key channels, ${h.V} columns for value channels.`);
      el.querySelector('.mw-say').textContent = say;
      el.querySelector('.mw-numbers').textContent = `|S| ${show(Memory.norm(S))}   |k| ${show(k)}   e\u00b7k ${show(ek)}`;
      el.querySelector('.wide').innerHTML = table(h, S, axis);
    });
  }
  function go(t, step) {
    const last = state.script.lines.length - 1;
    if (step > 3 && t < last) { t++; step = 0; }
    if (step < 0 && t > 0) { t--; step = 3; }
    state.t = Math.max(0, Math.min(last, t));
    state.step = Math.max(0, Math.min(3, step));
    draw();
  }
  slider.oninput = () => go(Number(slider.value), 3);
  $('.back').onclick = () => go(state.t, state.step - 1);
  $('.forth').onclick = () => go(state.t, state.step + 1);
  buttons.forEach((b, i) => { b.onclick = () => go(state.t, i); });
  area.oninput = compute;
  addEventListener('resize', () => { if (place.isConnected && state.script) draw(); });
  addEventListener('theme', () => { if (state.script) draw(); });
  compute();
  return state;
};
