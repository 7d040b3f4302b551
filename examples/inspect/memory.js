/*
 * memory.js - the rules of the library in JavaScript: a script made by hand (docs/inspect.md) goes in, the state after every
 * token comes out, and what each step of a token does to it. The pages of the course and the page of inspect use it, and so
 * does tests/memory.py, which compares its states with those of the library. Numbers are float64.
 *
 * A head is { rule, T, K, V, R, S, k, z, o, decay, erase, late }. S [T,K,V] and o are results. k [T R,K] are keys, turned where
 * the rule turns them, and z [T R,V] what is written with them, w*v. decay(t, c) and erase(t, c) are exp g and b of a channel,
 * now(t) and late(t) the two writes of Mamba-3. Elsewhere R is 1, now is 1 and late is 0.
 */
'use strict';
const Memory = (() => {
  const RULES = [
    { name: 'linear', title: 'Linear attention', text: 'S \u2190 S + k v\u1d40' },
    { name: 'mamba2', title: 'Mamba-2', text: 'S \u2190 e\u1d4d S + k (dt v)\u1d40' },
    { name: 'deltanet', title: 'DeltaNet (delta rule)', text: 'S \u2190 (I \u2212 \u03b2 k k\u1d40) S + \u03b2 k v\u1d40' },
    { name: 'gdn', title: 'Gated DeltaNet', text: 'S \u2190 (I \u2212 \u03b2 k k\u1d40) e\u1d4d S + \u03b2 k v\u1d40' },
    { name: 'kda', title: 'Kimi Delta Attention', text: 'S \u2190 (I \u2212 \u03b2 k k\u1d40) diag(e\u1d4d) S + \u03b2 k v\u1d40' },
    { name: 'gdn2', title: 'Gated DeltaNet-2', text: 'S \u2190 (I \u2212 k (b\u2217k)\u1d40) diag(e\u1d4d) S + k (w\u2217v)\u1d40' },
    { name: 'mamba3', title: 'Mamba-3', text: 'S \u2190 e\u1d4d (S + late k\u2032 v\u2032\u1d40) + now k v\u1d40, k turned' },
  ];
  const AXIS = 64, TOKENS = 512, VERBS = ['write', 'erase', 'decay', 'read'];
  const mean = (x) => x.length ? x.reduce((a, b) => a + b, 0) / x.length : 0;
  const norm = (x) => Math.sqrt(x.reduce((a, b) => a + b * b, 0));

  // ---- Scripts: the language of inspect --script, with its limits ----
  function number(word, fail) {
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word)) fail(`this is no number: ${word}`);
    const x = Number(word), size = Math.abs(x);
    if (!(x === 0 || (size >= 1e-50 && size <= 1e50)) || (x === 0 && /[1-9]/.test(word.split(/e/i)[0]))) fail(`a number is 0 or from 1e-50 to 1e50 in size: ${word}`);
    return x;
  }
  function gate(text, low, high, fail) {
    const x = text.split(',').map((word) => number(word, fail));
    if (x.length > AXIS) fail('more than 64 channels');
    for (const v of x) if (!(v >= low && v <= high)) fail(`a number from ${low} to ${high} is wanted: ${v}`);
    return x;
  }
  function find(list, word, fail) {
    if (word.length > 23 || word.includes('=')) fail(`a name has at most 23 characters and no =: ${word}`);
    let at = list.findIndex((n) => n.word === word);
    if (at < 0) {
      if (list.length === AXIS) fail(`more than 64 names: ${word}`);
      at = list.push({ word, x: null }) - 1;
    }
    return at;
  }
  function declare(list, words, fail) {
    if (words.length < 3) fail('a name and the numbers of its vector are wanted');
    if (words.length - 2 > AXIS) fail(`more than 64 channels: ${words[1]}`);
    const at = find(list, words[1], fail), width = words.length - 2;
    if (list[at].x) fail(`this name has a vector already: ${words[1]}`);
    if (list.width && list.width !== width) fail(`another vector has another number of channels: ${words[1]}`);
    list.width = width;
    list[at].x = words.slice(2).map((w) => number(w, fail));
  }
  // Names without a vector become unit vectors, in their order. Keys get unit length.
  function settle(list, unit, what) {
    let plain = list.filter((n) => !n.x).length;
    if (!list.width) list.width = plain || 1;
    if (plain > list.width) throw new Error(`${plain} ${what} without a vector, and only ${list.width} channels`);
    plain = 0;
    for (const n of list) {
      if (!n.x) { n.x = Array(list.width).fill(0); n.x[plain++] = 1; }
      const size = norm(n.x);
      if (unit && !(size > 0)) throw new Error(`key ${n.word} is zeros`);
      if (unit) n.x = n.x.map((v) => v / size);
    }
  }
  function option(line, word, fail) {
    const [name, ...rest] = word.split('='), text = rest.join('=');
    if (!rest.length) fail(`erase=, write=, decay=, dt=, lam= or angle= is wanted here: ${word}`);
    const one = (x) => x.length === 1 ? x : fail('dt and lam are one number'), { verb } = line;
    if (name === 'erase' && (verb === 'write' || verb === 'erase')) line.erase = gate(text, 0, 2, fail);
    else if (name === 'write' && verb === 'write') line.write = gate(text, 0, 1, fail);
    else if (name === 'decay' && verb !== 'decay') line.decay = gate(text, 0, 1, fail);
    else if (name === 'dt') line.dt = one(gate(text, 0, 1e50, fail));
    else if (name === 'lam') line.lam = one(gate(text, 0, 1, fail));
    else if (name === 'angle') line.angle = gate(text, -1e4, 1e4, fail);
    else fail(`this line takes no such option: ${name}`);
  }
  const step = (line) => line.dt ? line.dt[0] : line.verb === 'write' ? mean(line.write) : 1;
  function token(script, words, number_, fail) {
    const verb = words[0], wanted = verb === 'write' ? 2 : verb === 'decay' ? 0 : 1;
    const line = { verb, key: -1, value: -1, erase: [verb === 'write' || verb === 'erase' ? 1 : 0], write: [verb === 'write' ? 1 : 0],
      decay: [1], dt: null, lam: null, angle: null, number: number_, text: words.join(' ').slice(0, 63) };
    let at = 1;
    if (words.length < 1 + wanted) fail(wanted === 2 ? 'write: a key and a value are wanted' : 'a key is wanted');
    if (wanted > 0) line.key = find(script.keys, words[at++], fail);
    if (wanted > 1) line.value = find(script.values, words[at++], fail);
    if (verb === 'decay') {
      if (words.length < 2 || words[1].includes('=')) fail('decay: a number is wanted');
      line.decay = [];
      for (; at < words.length && !words[at].includes('='); at++) {
        const one = gate(words[at], 0, 1, fail);
        if (one.length !== 1) fail(`channels of decay have spaces between them: ${words[at]}`);
        line.decay.push(one[0]);
      }
      if (line.decay.length > AXIS) fail('more than 64 channels');
    }
    for (; at < words.length; at++) option(line, words[at], fail);
    if (line.angle && line.angle.some((a) => a !== 0) && step(line) === 0) fail('angle= wants a step, and dt (or write) is 0');
    if (script.lines.push(line) > TOKENS) fail('more than 512 tokens');
  }
  function check(script) {
    for (const l of script.lines) {
      if (l.angle && script.keys.width < 2) throw new Error(`line ${l.number}: angle= turns pairs of channels, and keys have one channel`);
      for (const [what, x, width] of [['erase', l.erase, script.keys.width], ['decay', l.decay, script.keys.width],
        ['write', l.write, script.values.width], ['angle', l.angle || [0], Math.floor(script.keys.width / 2)]])
        if (x.length > 1 && x.length !== width) throw new Error(`line ${l.number}: ${what} has ${x.length} numbers; 1 or ${width} are wanted`);
    }
  }
  /* Throws an Error that names the line. */
  function parse(text) {
    const script = { keys: [], values: [], lines: [] };
    text.split('\n').forEach((row, i) => {
      const fail = (what) => { throw new Error(`line ${i + 1}: ${what}`); }, words = row.replace(/#.*/, '').split(/[ \t\r]+/).filter((w) => w);
      if (!words.length) return;
      if (words[0] === 'key') declare(script.keys, words, fail);
      else if (words[0] === 'value') declare(script.values, words, fail);
      else if (VERBS.includes(words[0])) token(script, words, i + 1, fail);
      else fail(`a line begins with key, value, write, erase, decay or read, not: ${words[0]}`);
    });
    if (!script.lines.length) throw new Error('the script has no line that is a token');
    settle(script.keys, true, 'keys');
    settle(script.values, false, 'values');
    check(script);
    return script;
  }

  // ---- Gates of a line: a rule that lacks one uses the nearest that it has, as script.c does ----
  const channel = (x, c) => x[x.length > 1 ? c : 0];
  const still = { now: 1, late: 0, turn: null };
  function gates(rule, l) {
    const beta = l.verb === 'erase' ? mean(l.erase) : mean(l.write), dt = step(l), a = mean(l.decay), writes = l.verb === 'write';
    const byChannel = (c) => channel(l.decay, c), all = (x) => () => x;
    switch (rule) {
    case 'linear': return { ...still, decay: all(1), erase: all(0), write: all(1), writes };
    case 'deltanet': return { ...still, decay: all(1), erase: all(beta), write: all(beta), writes };
    case 'gdn': return { ...still, decay: all(a), erase: all(beta), write: all(beta), writes };
    case 'kda': return { ...still, decay: byChannel, erase: all(beta), write: all(beta), writes };
    case 'gdn2': return { ...still, decay: byChannel, erase: (c) => channel(l.erase, c), write: (c) => channel(l.write, c), writes };
    case 'mamba2': return { ...still, decay: all(a), erase: all(0), write: all((writes || l.dt) && dt > 0 ? dt : a < 1 ? 1 : 0), writes: writes && dt > 0 };
    case 'mamba3': {
      const lam = l.lam ? l.lam[0] : 1;
      return { decay: all(a), erase: all(0), write: all(1), writes, now: lam * dt, late: (1 - lam) * dt, turn: l.angle };
    }
    default: throw new Error(`there is no rule ${rule}`);
    }
  }
  function turned(x, phi) { // pairs of neighbours, as Mamba-3 with one row turns them
    const y = x.slice();
    phi.forEach((a, j) => {
      y[2 * j] = x[2 * j] * Math.cos(a) - x[2 * j + 1] * Math.sin(a);
      y[2 * j + 1] = x[2 * j] * Math.sin(a) + x[2 * j + 1] * Math.cos(a);
    });
    return y;
  }

  // ---- A token in its steps ----
  /* From the state before a token: what decay makes of it (with Mamba-3's late write first), then erasing, then writing. */
  function steps(h, t) {
    const { K, V, R } = h, n = K * V;
    const before = t > 0 ? Array.from(h.S.subarray ? h.S.subarray((t - 1) * n, t * n) : h.S.slice((t - 1) * n, t * n)) : Array(n).fill(0);
    const decayed = before.slice(), late = h.late(t), now = h.now(t), reads = Array(V).fill(0);
    for (let i = (t - 1) * R; late && t > 0 && i < t * R; i++)
      for (let c = 0; c < K; c++) for (let j = 0; j < V; j++) decayed[c * V + j] += late * h.k[i * K + c] * h.z[i * V + j];
    for (let c = 0; c < K; c++) for (let j = 0; j < V; j++) decayed[c * V + j] *= h.decay(t, c);
    const erased = decayed.slice();
    if (R === 1 && h.erase) {
      for (let c = 0; c < K; c++) for (let j = 0; j < V; j++) reads[j] += h.erase(t, c) * h.k[t * K + c] * decayed[c * V + j];
      for (let c = 0; c < K; c++) for (let j = 0; j < V; j++) erased[c * V + j] -= h.k[t * K + c] * reads[j];
    }
    const written = erased.slice();
    for (let i = t * R; i < (t + 1) * R; i++)
      for (let c = 0; c < K; c++) for (let j = 0; j < V; j++) written[c * V + j] += now * h.k[i * K + c] * h.z[i * V + j];
    return { before, decayed, erased, written, reads };
  }

  /* Runs a parsed script through a rule. */
  function run(script, rule) {
    const T = script.lines.length, K = script.keys.width, V = script.values.width, J = Math.floor(K / 2);
    const h = { rule, T, K, V, R: 1, phi: [], S: new Float64Array(T * K * V), k: new Float64Array(T * K), z: new Float64Array(T * V), q: new Float64Array(T * K),
      o: new Float64Array(T * V), tokens: script.lines.map((l) => l.text), g: script.lines.map((l) => gates(rule, l)) };
    h.decay = (t, c) => h.g[t].decay(c);
    h.erase = (t, c) => h.g[t].erase(c);
    h.now = (t) => h.g[t].now;
    h.late = (t) => h.g[t].late;
    let phi = Array(rule === 'mamba3' ? J : 0).fill(0);
    script.lines.forEach((l, t) => {
      const g = h.g[t], x = l.key >= 0 ? script.keys[l.key].x : Array(K).fill(0);
      if (g.turn) phi = phi.map((a, j) => a + channel(g.turn, j));
      const key = turned(x, phi);
      h.q.set(key, t * K);
      if (l.verb === 'write' || l.verb === 'erase') h.k.set(key, t * K);
      if (g.writes) h.z.set(script.values[l.value].x.map((v, c) => v * g.write(c)), t * V);
      h.S.set(steps(h, t).written, t * K * V);
      for (let j = 0; j < V; j++) for (let c = 0; c < K; c++) h.o[t * V + j] += h.S[(t * K + c) * V + j] * key[c];
      h.phi.push(phi);
    });
    return h;
  }

  /* What a key, a unit vector in the frame of token t, reads from the state S [K,V]: S^T k / |k|^2. */
  function reading(S, K, V, key) {
    const r = Array(V).fill(0), kk = key.reduce((a, b) => a + b * b, 0);
    for (let c = 0; c < K && kk > 0; c++) for (let j = 0; j < V; j++) r[j] += S[c * V + j] * key[c] / kk;
    return r;
  }
  /* |k| of a token's key and e.k = sum b k^2, the share of itself that it erases. */
  function lengths(h, t) {
    let kk = 0, ek = 0;
    for (let c = 0; c < h.K; c++) {
      const k = h.k[t * h.R * h.K + c];
      kk += k * k;
      if (h.erase) ek += h.erase(t, c) * k * k;
    }
    return { k: Math.sqrt(kk), ek };
  }
  return { RULES, parse, run, steps, reading, lengths, turned, norm };
})();
if (typeof module !== 'undefined') module.exports = Memory;
