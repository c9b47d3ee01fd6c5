// What the status page does: it asks the filter for its JSON again and again, keeps ten minutes
// of it and shows it. What comes from the JSON is put in as text, never as markup.
'use strict';

const HISTORY = 600e3; // milliseconds
const MAX_LINES = 12;
const HEIGHT = 200; // of a chart
// Worst first, as sorting by state shows them.
const STATES = ['unhealthy', 'failing', 'refusing', 'ejected', 'stale', 'unknown', 'draining', 'full', 'slowStart', 'healthy'];
// Field, heading, and the fields that stand below in small, where they are not 0.
const COLUMNS = [
  ['podName', 'Pod', 'address'], ['nodeName', 'Node', 'podIP'], ['state', 'State', 'reason', 'lastError', 'complaint'],
  ['load', 'Of even share'], ['agentsConnections', 'Reported', 'refused'], ['estimate', 'Estimate', 'inFlight'],
  ['evenShare', 'Even share'], ['ownConnections', 'This gateway', 'rebalanced'],
  ['weight', 'Weight', 'slowStart', 'priority'], ['maxConnections', 'Max'], ['countAge', 'Age', 'pollsFailed'],
];

const $ = (selector) => document.querySelector(selector);
const { style, dataset } = document.documentElement;
const summaries = document.querySelectorAll('[data-summary]');
const darkness = matchMedia('(prefers-color-scheme: dark)');

let services = new Map(); // by name: the newest state, the pods, and samples of the last minutes
let selected;
let sorting = {};
let updates = 0;
let updated = 0; // when the newest data came
let broken = false; // whether the next sample does not follow on the last
let paused = false;
let busy = false;
let timer;

// Formats

const numbers = (digits) => new Intl.NumberFormat('en', digits).format;
const grouped = numbers({ maximumFractionDigits: 0 });
// Most numbers are small, and thousands of them are shown at once.
const whole = (value) => (value < 999.5 ? String(Math.round(value)) : grouped(value));
const decimal = numbers({ maximumFractionDigits: 2 });
const ratio = numbers({ minimumFractionDigits: 3 });
const percent = (part) => whole(part * 100) + ' %';
const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' }).format;
const words = (name) => name.replace(/[A-Z]/g, (letter) => ' ' + letter.toLowerCase());

function seconds(value) {
  return value < 120 ? value.toFixed(value < 10) + ' s' : whole(value / 60) + ' min';
}

const FORMATS = {
  agentsConnections: whole, maxConnections: whole, evenShare: decimal, weight: decimal, imbalance: ratio,
  load: percent, share: percent, slowStart: percent, state: words,
  age: seconds, countAge: seconds, discoveryAge: seconds, refreshInterval: seconds, cacheTTL: seconds,
};

function format(field, value) {
  if (value == null) return field in FORMATS ? '–' : '';
  if (field in FORMATS) return FORMATS[field](value);
  return typeof value === 'number' ? whole(value) : value;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// History

function take({ services: news, podMetrics }) {
  if (!news?.length) throw new Error('the answer names no service');
  updated = Date.now();
  const before = services;
  services = new Map();
  for (const service of news) {
    const kept = before.get(service.url) ?? { pods: new Map(), samples: [], hue: 0 };
    services.set(service.url, kept);
    kept.service = service;
    takePods(kept, podMetrics?.[service.url] ?? []);
    takeSample(kept);
  }
  broken = false;
}

function takePods(kept, news) {
  const addresses = new Set(news.map(({ address }) => address));
  for (const [address, { row }] of kept.pods) {
    if (addresses.has(address)) continue;
    row?.remove();
    kept.pods.delete(address);
  }
  for (const pod of news) {
    // A pod that never answered reported nothing, not 0.
    if (pod.countAge == null) pod.agentsConnections = null;
    else if (pod.evenShare) pod.load = pod.agentsConnections / pod.evenShare;
    // Turned by the golden angle, no hue comes near the ones before.
    const entry = kept.pods.get(pod.address) ?? { hue: (kept.hue += 137.5) };
    entry.pod = pod;
    kept.pods.set(pod.address, entry);
  }
}

function takeSample({ service, pods, samples }) {
  const counts = new Map();
  for (const [address, { pod }] of pods) if (pod.countAge != null) counts.set(address, pod.agentsConnections);
  samples.push({
    time: updated, broken, counts, imbalance: service.imbalance, even: service.evenShare,
    low: Math.min(...counts.values()), high: Math.max(...counts.values()),
  });
  // None is later than the newest, unless the clock was set back.
  while (samples[0].time < updated - HISTORY || samples[0].time > updated) samples.shift();
}

// Summary

function show() {
  if (!services.has(selected)) [selected] = services.keys();
  showServices();
  showSummary();
  showRows();
  showCharts();
}

function showServices() {
  const select = $('#service');
  select.hidden = services.size < 2;
  select.length = services.size;
  [...services].forEach(([name, { service }], index) => {
    const option = select.options[index];
    option.value = name;
    setText(option, `${name} (${service.podsUsable} of ${service.podsKnown} pods)`);
  });
  select.value = selected;
}

function showSummary() {
  if (!updated) return;
  const { service, pods } = services.get(selected);
  const { discovery, poller } = service;
  const all = [...pods.values()].map(({ pod }) => pod);
  const ages = all.map(({ countAge }) => countAge).filter((age) => age != null);
  const states = STATES.map((state) => [all.filter((pod) => pod.state === state).length, words(state)]);
  const since = (Date.now() - updated) / 1e3;
  const values = {
    ...service,
    age: ages.length ? Math.min(...ages) + since : null,
    states: states.filter(([count]) => count).map((state) => state.join('\xa0')).join(', '),
    poller: poller || 'nobody yet',
    discoveryAge: discovery?.age,
    discovery: discovery ? 'from ' + discovery.adminCluster : 'the pods are configured',
    discoveryError: discovery?.lastError,
  };
  for (const node of summaries) setText(node, format(node.dataset.summary, values[node.dataset.summary]));
  setText($('#updated'), `Updated ${clock(updated)}, ${whole(since)} s ago${paused ? ', paused' : ''}`);
}

// Rows

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function makeHeading([field, heading], index) {
  const button = make('button', {}, heading);
  button.addEventListener('click', () => sortBy(field, index < 3 ? 1 : -1));
  return make('th', { role: 'columnheader', scope: 'col', 'data-sort': field }, button);
}

function makeCell([field, heading, ...below], index) {
  const cell = make(index ? 'td' : 'th', { role: index ? 'cell' : 'rowheader', 'data-label': heading });
  if (field === 'load') cell.append(make('i', {}));
  cell.append(make('span', { 'data-field': field, dir: 'auto' }, ''));
  for (const small of below) cell.append(make('small', { 'data-field': small, 'data-unit': words(small), dir: 'auto' }, ''));
  return cell;
}

const blank = make('tr', { role: 'row' }, ...COLUMNS.map(makeCell));

function makeRow(entry) {
  const row = blank.cloneNode(true);
  row.dataset.pod = entry.pod.address;
  const nodes = [...row.querySelectorAll('[data-field]')];
  entry.cells = nodes.map((node) => ({ node, text: node.firstChild, field: node.dataset.field }));
  entry.bar = row.querySelector('i').style;
  row.addEventListener('contentvisibilityautostatechange', ({ skipped }) => {
    entry.skipped = skipped;
    showBar(entry);
  });
  return row;
}

// Touches only what changed, which keeps 1,000 rows cheap.
function showRow(entry) {
  const { pod, row, cells } = entry;
  for (const cell of cells) {
    const value = pod[cell.field] ?? null;
    if (value === cell.value) continue;
    cell.value = value;
    cell.text.data = !value && cell.node.localName === 'small' ? '' : format(cell.field, value);
    if (typeof value === 'number') continue;
    cell.node.title = value ?? '';
    entry.words = null;
  }
  if (!entry.words) row.dataset.state = pod.state;
  entry.words ??= [pod.podName, pod.address, pod.nodeName, 'is:' + pod.state, words(pod.state), pod.reason].join('\n').toLowerCase();
  showBar(entry);
}

// The bar of a row that is out of sight waits until it comes near.
function showBar({ pod, bar, scale, skipped }) {
  if (skipped) return;
  const part = (value) => Math.round((1000 * value) / scale) / 10 + '%';
  bar.backgroundSize = `2px, ${part(pod.estimate)} 2px, ${part(pod.ownConnections)} 10px, ${part(pod.agentsConnections)} 10px, 100% 10px`;
  bar.backgroundPositionX = part(pod.evenShare) + ', 0, 0, 0, 0';
}

function showRows() {
  const entries = [...services.get(selected).pods.values()];
  const scale = Math.max(1, ...entries.flatMap(({ pod }) => [pod.agentsConnections, pod.estimate, pod.evenShare]));
  for (const entry of entries) {
    entry.row ??= makeRow(entry);
    entry.scale = scale;
    showRow(entry);
  }
  arrange();
}

function arrange() {
  const kept = services.get(selected);
  if (!kept) return;
  // Kept in this order, they are nearly sorted the next time.
  kept.pods = new Map([...kept.pods].sort(compare));
  const terms = $('#search').value.toLowerCase().split(' ');
  const body = $('tbody');
  let shown = 0;
  let next = body.firstChild;
  for (const { row, words } of kept.pods.values()) {
    const hit = terms.every((term) => words.includes(term));
    shown += hit;
    if (row.hidden === hit) row.hidden = !hit;
    if (row === next) next = row.nextSibling;
    else body.insertBefore(row, next);
  }
  setText($('#shown'), `${whole(shown)} of ${whole(kept.pods.size)} pods`);
}

const { compare: compareTexts } = new Intl.Collator('en', { numeric: true });
const sortKey = ([, { pod }]) => (sorting.field === 'state' ? STATES.indexOf(pod.state) : pod[sorting.field]);

// Pods without a value come last, whichever way the others go.
function compare(one, other) {
  const a = sortKey(one);
  const b = sortKey(other);
  if (a == null || b == null) return (a == null) - (b == null);
  return sorting.turn * (typeof a === 'string' ? compareTexts(a, b) : a - b);
}

// Texts begin with A, numbers with the largest; a second time turns either.
function sortBy(field, turn) {
  sorting = { field, turn: field === sorting.field ? -sorting.turn : turn };
  for (const heading of $('thead tr').children) {
    heading.ariaSort = heading.dataset.sort !== field ? null : sorting.turn > 0 ? 'ascending' : 'descending';
  }
  arrange();
}

// Charts

const isDark = () => (style.colorScheme ? style.colorScheme === 'dark' : darkness.matches);
const color = (hue) => `hsl(${hue} 70% ${isDark() ? 68 : 42}%)`;
const ink = () => (isDark() ? '#c3cbd8' : '#3d4757');

const imbalanceLines = () => [{ name: '', color: color(215), value: (sample) => sample.imbalance }];

function countLines({ pods }) {
  const lines = pickEntries([...pods.values()]).map(({ pod, hue }) => ({
    name: pod.podName ?? pod.address, color: color(hue), value: (sample) => sample.counts.get(pod.address),
  }));
  return [...lines, { name: 'even share', color: ink(), dash: [4, 4], value: (sample) => sample.even }];
}

function pickEntries(entries) {
  // Those drawn already have a bonus, lest the lines change with every sample.
  const distance = ({ pod, drawn }) => (drawn ? 1.25 : 1) * Math.abs(pod.agentsConnections - pod.evenShare);
  if (entries.length > MAX_LINES) entries.sort((a, b) => distance(b) - distance(a));
  entries.forEach((entry, index) => (entry.drawn = index < MAX_LINES));
  return entries.slice(0, MAX_LINES);
}

const [imbalanceCanvas, countCanvas] = document.querySelectorAll('canvas');
const charts = [
  { canvas: imbalanceCanvas, floor: 1, finest: 0.01, margin: 56, label: ratio, makeLines: imbalanceLines },
  { canvas: countCanvas, floor: 0, finest: 1, margin: 130, label: whole, makeLines: countLines },
];

function showCharts() {
  const kept = services.get(selected);
  if (!kept) return;
  for (const chart of charts) if (chart.width) drawChart(chart, kept);
  setText($('#drawn'), kept.pods.size > MAX_LINES ? `the ${MAX_LINES} furthest from even, and the band of all` : '');
}

function drawChart(chart, kept) {
  const { canvas, width } = chart;
  const { samples } = kept;
  const pen = canvas.getContext('2d');
  canvas.width = width * devicePixelRatio;
  canvas.height = HEIGHT * devicePixelRatio;
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.font = '11px system-ui, sans-serif';
  pen.textBaseline = 'middle';
  pen.fillStyle = ink();
  if (samples.length < 2) return pen.fillText('The history begins now.', 44, HEIGHT / 2);
  const lines = chart.makeLines(kept);
  const view = makeView(chart, samples, lines);
  drawGrid(pen, view, chart.label);
  if (lines.length > MAX_LINES) drawBand(pen, view, samples);
  for (const line of lines) drawLine(pen, view, samples, line);
  drawLabels(pen, view, samples.at(-1), lines, chart);
}

function makeView({ floor, finest, margin, width }, samples, lines) {
  const values = samples.flatMap((sample) => lines.map(({ value }) => value(sample) ?? 0));
  if (lines.length > MAX_LINES) values.push(...samples.map(({ high }) => high));
  const range = Math.max(4 * finest, Math.max(...values) - floor);
  const step = niceStep(range / 4);
  const high = floor + Math.ceil(range / step - 1e-6) * step;
  const end = samples.at(-1).time;
  const age = (end - samples[0].time) / 60e3;
  const span = 60e3 * ([1, 2, 5].find((minutes) => age <= minutes) ?? 10);
  const [left, right, top, bottom] = [44, width - margin, 8, HEIGHT - 20];
  return {
    left, right, top, bottom, floor, high, step, end, span,
    x: (time) => right - ((end - time) / span) * (right - left),
    y: (value) => bottom - ((value - floor) / (high - floor)) * (bottom - top),
  };
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((step) => step * power >= least) ?? 10);
}

function drawGrid(pen, { left, right, bottom, floor, high, step, end, span, x, y }, label) {
  pen.textAlign = 'right';
  for (let value = floor; value < high + step / 2; value += step) {
    pen.fillText(label(value), left - 6, y(value));
    pen.globalAlpha = 0.2;
    pen.fillRect(left, Math.round(y(value)), right - left, 1);
    pen.globalAlpha = 1;
  }
  pen.textAlign = 'center';
  const every = [15e3, 30e3, 60e3, 120e3].find((time) => (time / span) * (right - left) >= 54) ?? 300e3;
  for (let time = end - (end % every); time >= end - span; time -= every) {
    pen.fillText(clock(time).slice(0, every < 60e3 ? 8 : 5), x(time), bottom + 13);
    pen.fillRect(Math.round(x(time)), bottom, 1, 4);
  }
}

function drawBand(pen, { x, y }, samples) {
  const known = samples.filter(({ counts }) => counts.size);
  pen.beginPath();
  for (const { time, high } of known) pen.lineTo(x(time), y(high));
  for (const { time, low } of known.reverse()) pen.lineTo(x(time), y(low));
  pen.globalAlpha = 0.15;
  pen.fill();
  pen.globalAlpha = 1;
}

function drawLine(pen, { x, y }, samples, { color, dash = [], value }) {
  pen.beginPath();
  let gap = true;
  for (const sample of samples) {
    const here = value(sample);
    if (here != null) pen[gap || sample.broken ? 'moveTo' : 'lineTo'](x(sample.time), y(here));
    gap = here == null;
  }
  pen.strokeStyle = color;
  pen.lineWidth = 1.5;
  pen.setLineDash(dash);
  pen.stroke();
}

// Each line's value stands at its end, and all are pushed apart until none covers another.
function drawLabels(pen, { right, top, bottom, y }, newest, lines, { label, width }) {
  const labels = lines.map((line) => ({ ...line, value: line.value(newest) })).filter(({ value }) => value != null);
  labels.sort((a, b) => b.value - a.value);
  let limit = top;
  for (const item of labels) limit = (item.place = Math.max(y(item.value), limit)) + 13;
  limit = bottom;
  for (const item of labels.reverse()) limit = (item.place = Math.min(item.place, limit)) - 13;
  pen.textAlign = 'left';
  for (const { name, color, value, place } of labels) {
    pen.fillStyle = color;
    pen.fillRect(right + 4, place - 1, 8, 3);
    pen.fillStyle = ink();
    pen.fillText(label(value), right + 16, place);
    const left = right + 22 + pen.measureText(label(value)).width;
    // The names of pods differ at their end.
    pen.fillText(name.length > 13 ? '…' + name.slice(-12) : name, left, place, Math.max(0, width - left));
  }
}

// Asking

// One request at a time: the next is planned when this one is over.
async function update() {
  if (busy || paused) return;
  busy = true;
  try {
    const signal = AbortSignal.timeout(10e3);
    const response = await fetch(location.pathname + '?format=json', { cache: 'no-store', signal });
    if (!response.ok) throw new Error('status ' + response.status);
    const text = await response.text();
    if (!paused) accept(text);
  } catch ({ message }) {
    broken = true;
    // The text stays the same while the reason does, so that it is read out once.
    setText($('#error'), `No new data: ${message}. ${updated ? `What you see is of ${clock(updated)}. ` : ''}Trying again.`);
    $('#error').hidden = false;
  }
  busy = false;
  plan();
}

function accept(text) {
  const start = performance.now();
  take(JSON.parse(text));
  show();
  $('#error').hidden = true;
  dataset.script = (performance.now() - start).toFixed(1);
  dataset.updates = ++updates;
}

function plan() {
  clearTimeout(timer);
  // A tab that nobody sees asks seldom, but its history goes on.
  const wait = Math.max($('#refresh').value, document.hidden ? 10 : 0);
  if (!busy && !paused) timer = setTimeout(update, wait * 1e3);
}

// Controls

function togglePause() {
  paused = !paused;
  broken = true;
  $('#pause').textContent = paused ? 'Resume' : 'Pause';
  showSummary();
  plan();
  update();
}

function showTheme() {
  $('#theme').textContent = isDark() ? 'Light' : 'Dark';
  showCharts();
}

// Widths are noted, for asking for them while rows change would lay out the page at once.
const widths = new ResizeObserver(() => {
  for (const chart of charts) chart.width = chart.canvas.clientWidth;
  showCharts();
});

$('thead tr').append(...COLUMNS.map(makeHeading));
sortBy('podName', 1);
showTheme();
for (const { canvas } of charts) widths.observe(canvas);
$('#search').addEventListener('input', arrange);
$('#refresh').addEventListener('change', plan);
$('#pause').addEventListener('click', togglePause);
$('#theme').addEventListener('click', () => {
  style.colorScheme = isDark() ? 'light' : 'dark';
  showTheme();
});
$('#service').addEventListener('change', ({ target }) => {
  selected = target.value;
  $('tbody').replaceChildren();
  show();
});
darkness.addEventListener('change', showTheme);
document.addEventListener('visibilitychange', () => {
  plan();
  if (!document.hidden) update();
});
setInterval(showSummary, 1e3);
update();
