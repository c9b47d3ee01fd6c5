// What the status page does: it asks the filter for its JSON again and again, keeps ten minutes
// of it and shows it. What comes from the JSON is put in as text, never as markup.
'use strict';

const HISTORY = 600e3; // milliseconds
const MAX_LINES = 12;
const HEIGHT = 160; // of a chart
const RATE_SPAN = 4.5e3; // rates are of so many milliseconds, or of one update if that is longer
// Worst first, as sorting by state shows them.
const STATES = ['unhealthy', 'unknown', 'failing', 'refusing', 'ejected', 'stale', 'full', 'draining', 'slowStart', 'healthy'];
const GRAVITIES = ['critical', 'warning', 'ok'];
const MARKS = { ok: ['', 'OK'], warning: ['▲ ', 'Warning'], critical: ['✖ ', 'Critical'] };
const NOTHING_SPECIAL = 'it gets new WebSockets';
// Field, heading, width, and the fields that stand below in small, where they are not 0. A column that
// says the same of all pods is hidden, unless it is one of those that are always there.
const COLUMNS = [
  ['podName', 'Pod', '2.4fr', 'address'], ['state', 'State', '2.4fr', 'reason', 'lastError', 'complaint'],
  ['load', 'Of even share', '4fr'], ['agentsConnections', 'Connections', '92px', 'estimated', 'inFlight'],
  ['ownConnections', 'This gateway', '92px', 'rebalanced'], ['evenShare', 'Even share', '78px'],
  ['weight', 'Weight', '64px', 'priority'], ['maxConnections', 'Max', '60px'],
  ['failed', 'Failed', '64px', 'refused', 'cut'], ['nodeName', 'Node', '1.2fr', 'podIP'], ['countAge', 'Age', '64px', 'pollsFailed'],
];
const ALWAYS = ['podName', 'load', 'agentsConnections'];
// How it is laid out, unless it is a number.
const KINDS = { podName: 'words', state: 'words', load: 'bar', nodeName: 'node' };
// Statistics that count what should not be: a card each, where there are any.
const TROUBLES = [
  ['upgrades_fallback', 'Fallback', 'no pod was usable'], ['upgrades_rejected', 'Rejected', '503: no pod was usable'],
  ['upgrades_full', 'Refused', '503: the pods were full'], ['upgrades_failed', 'Failed', '5xx, or no answer'],
  ['upgrades_retried', 'Retried', 'more than one attempt'], ['upgrades_mismatched', 'Mismatched', 'on other pods than chosen'],
];

// What stands in place of a service where there is none.
const NOBODY = { url: 'wsbalancer', verdict: { gravity: 'warning', text: 'No filter tells of any service' } };

const $ = (selector) => document.querySelector(selector);
const { style, dataset } = document.documentElement;
const summaries = document.querySelectorAll('[data-summary]');
const nav = $('nav');
const ofServices = document.querySelectorAll('.pods, #cards, #facts, footer span');
const ofPods = document.querySelectorAll('.pods');
const darkness = matchMedia('(prefers-color-scheme: dark)');

let services = new Map(); // by name: the newest state, the pods, and samples of the last minutes
let selected;
let sorting = {};
let gateway;
let hidden = ''; // the columns that are
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
const some = numbers({ maximumSignificantDigits: 2 });
const perSecond = (value) => (value == null ? '' : (value < 100 ? some : whole)(value) + '/s');
const words = (name) => (name === 'unknown' ? 'never answered' : name.replace(/[A-Z]/g, (letter) => ' ' + letter.toLowerCase()));

function seconds(value) {
  return value < 120 ? value.toFixed(value < 10) + ' s' : whole(value / 60) + ' min';
}

const FORMATS = {
  agentsConnections: whole, maxConnections: whole, evenShare: decimal, weight: decimal, imbalance: ratio,
  load: percent, share: percent, state: words,
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

function take({ services: news, podMetrics, gateway: name, warnings }) {
  if (!news) throw new Error('the answer is no status');
  gateway = { name: name ?? location.host, warnings: warnings ?? [] };
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
    pod.estimated = pod.estimate === pod.agentsConnections ? null : pod.estimate;
    // That there was no count at all is told by its state.
    pod.isLate = pod.countAge > 2 * kept.service.refreshInterval + 1;
    // What takes no part in the balance has no even share.
    if (pod.load == null) pod.evenShare = null;
    // In tenths of its even share; with few WebSockets one is much.
    const isOff = pod.load != null && Math.abs(pod.estimate - pod.evenShare) > 2;
    pod.off = isOff ? Math.min(99, Math.round(Math.abs(pod.load - 1) * 10)) : 0;
    if (pod.reason === NOTHING_SPECIAL) pod.reason = null;
    if (pod.address.startsWith(pod.podIP + ':')) pod.podIP = null;
    // Turned by the golden angle, no hue comes near the ones before.
    const entry = kept.pods.get(pod.address) ?? { hue: (kept.hue += 137.5) };
    entry.pod = pod;
    kept.pods.set(pod.address, entry);
  }
  kept.weighted = news.some(({ weight }) => weight !== 1);
}

function takeSample({ service, pods, samples }) {
  const counts = new Map();
  for (const [address, { pod }] of pods) {
    if (pod.countAge != null) counts.set(address, pod.agentsConnections / (pod.weight || 1));
  }
  samples.push({
    time: updated, broken, counts, imbalance: service.imbalance, even: service.evenShare, statistics: service.statistics ?? {},
    low: Math.min(...counts.values()), high: Math.max(...counts.values()),
  });
  // None is later than the newest, unless the clock was set back.
  while (samples[0].time < updated - HISTORY || samples[0].time > updated) samples.shift();
}

// How often a second a statistic has counted lately; nothing where that is not known.
function rate({ samples }, name) {
  const newest = samples.at(-1);
  const before = samples.findLast(({ time }) => time <= newest.time - RATE_SPAN) ?? samples[0];
  const more = newest.statistics[name] - before.statistics[name];
  // It begins anew with Envoy.
  return more >= 0 && newest !== before ? (1e3 * more) / (newest.time - before.time) : null;
}

// Summary

const gravityOf = ({ verdict }) => verdict?.gravity ?? 'ok';

function show() {
  const ordered = [...services.values()].map(({ service }) => service);
  ordered.sort((one, other) => GRAVITIES.indexOf(gravityOf(one)) - GRAVITIES.indexOf(gravityOf(other)));
  // The worst first, until the user chooses.
  if (!services.has(selected)) choose(ordered[0]?.url);
  showServices(ordered);
  const service = services.get(selected)?.service ?? NOBODY;
  const gravity = gravityOf(service);
  const [mark, word] = MARKS[gravity];
  $('#verdict').dataset.gravity = gravity;
  setText($('#verdict b'), word);
  setText($('#verdict span'), service.verdict?.text ?? '');
  setText($('#name'), service.url);
  setText($('#gateway'), 'gateway ' + gateway.name);
  document.title = `${mark}${service.url} – wsbalancer`;
  showList($('#warnings'), [...gateway.warnings, ...(service.warnings ?? [])], makeWarning, fillWarning);
  for (const node of ofServices) node.hidden = !ordered.length;
  showSummary();
  if (ordered.length) showRows();
  showCharts();
}

// Of the one before no row stays.
function choose(name) {
  selected = name;
  $('tbody').replaceChildren();
}

// Has a node for each item.
function showList(parent, items, makeNode, fill) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  while (parent.children.length < items.length) parent.append(makeNode());
  items.forEach((item, index) => fill(parent.children[index], item));
}

const makeWarning = () => make('div', { 'data-gravity': 'warning' }, make('p', {}), make('pre', {}));

function fillWarning({ children: [text, lines] }, { message, advice }) {
  const isSaid = message.replace(/\.$/, '') === $('#verdict span').textContent;
  setText(text, isSaid ? '' : message);
  setText(lines, advice ?? '');
}

function makeService() {
  const button = make('button', {}, make('b', { dir: 'auto' }), ' ', make('small', {}));
  button.addEventListener('click', () => {
    choose(button.value);
    show();
  });
  return button;
}

function showServices(ordered) {
  nav.hidden = ordered.length < 2;
  showList(nav, ordered, makeService, (button, service) => {
    button.value = service.url;
    button.dataset.gravity = gravityOf(service);
    button.ariaPressed = service.url === selected;
    setText(button.children[0], MARKS[gravityOf(service)][0] + service.url);
    setText(button.children[1], service.verdict?.text ?? '');
  });
}

function showSummary() {
  if (!updated) return;
  const since = (Date.now() - updated) / 1e3;
  setText($('#updated'), `Updated ${clock(updated)}, ${whole(since)} s ago${paused ? ', paused' : ''}`);
  const kept = services.get(selected);
  if (!kept) return;
  const { service, weighted } = kept;
  const { discovery, poller, statistics } = service;
  const all = [...kept.pods.values()].map(({ pod }) => pod);
  const ages = all.map(({ countAge }) => countAge).filter((age) => age != null);
  const values = {
    ...service,
    evenShare: format('evenShare', service.evenShare) + (weighted ? ' for weight 1' : ''),
    balanced: statistics ? withRate(kept, 'upgrades_balanced') : '–',
    poller: poller || 'nobody yet',
    discovery: discovery ? 'the pods are from ' + discovery.adminCluster : 'the pods are configured',
  };
  for (const node of summaries) {
    const { summary } = node.dataset;
    const value = values[summary];
    setText(node, typeof value === 'string' ? value : format(summary, value));
  }
  const cards = findCards(kept, all, discovery, ages.length ? Math.min(...ages) + since : 0);
  showList($('#cards'), cards, () => make('div', {}, make('dt', {}), make('dd', {}, make('b', {}), ' ', make('span', {}))), fillCard);
}

const withRate = (kept, name) => [whole(kept.service.statistics[name]), perSecond(rate(kept, name))].filter(Boolean).join(', ');

// What differs from normal: heading, number, remark, and how grave it is or whose state.
function findCards(kept, all, discovery, age) {
  const { statistics = {}, refreshInterval } = kept.service;
  const cards = [];
  const card = (count, ...rest) => count && cards.push([whole(count), ...rest]);
  for (const state of STATES.slice(0, -1)) {
    card(all.filter((pod) => pod.state === state).length, words(state), 'of ' + whole(all.length) + ' pods', { state });
  }
  card(all.filter(({ implausible }) => implausible).length, 'implausible', 'counts lack WebSockets', { gravity: 'warning' });
  card(all.filter(({ complaint }) => complaint).length, 'with a complaint', 'see below', { gravity: 'warning' });
  for (const [name, heading, remark] of TROUBLES) {
    const now = rate(kept, name);
    card(statistics[name], heading, [perSecond(now), remark].filter(Boolean).join(', '), { gravity: now ? 'warning' : '' });
  }
  if (age > 2 * refreshInterval + 1) cards.push([seconds(age), 'Newest count', 'all are old', { gravity: 'warning' }]);
  if (discovery?.lastError) cards.push([format('discoveryAge', discovery.age), 'Discovery', discovery.lastError, { gravity: 'warning' }]);
  return cards;
}

function fillCard({ dataset, children: [term, { children: [number, remark] }] }, [value, heading, text, tone]) {
  setText(term, heading);
  setText(number, value);
  setText(remark, text);
  Object.assign(dataset, { state: '', gravity: '' }, tone);
}

// Rows

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const kindOf = (field) => KINDS[field] ?? 'number';

function makeHeading([field, heading]) {
  const button = make('button', {}, heading);
  button.addEventListener('click', () => sortBy(field, field in KINDS && field !== 'load' ? 1 : -1));
  return make('th', { role: 'columnheader', scope: 'col', class: kindOf(field), 'data-sort': field }, button);
}

function makeCell([field, heading, , ...below], index) {
  const cell = make(index ? 'td' : 'th', { role: index ? 'cell' : 'rowheader', class: kindOf(field), 'data-label': heading });
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
    if (typeof value !== 'number') entry.words = null;
  }
  if (!entry.words) row.dataset.state = pod.state;
  entry.words ??= [pod.podName, pod.address, pod.nodeName, 'is:' + pod.state, words(pod.state), pod.reason].join('\n').toLowerCase();
  if (entry.hidden !== hidden) hideCells(row);
  entry.hidden = hidden;
  showBar(entry);
}

// The bar of a row that is out of sight waits until it comes near.
function showBar({ pod, bar, scale, skipped }) {
  if (skipped) return;
  const part = (value) => Math.round((1000 * value) / scale) / 10 + '%';
  const mark = pod.evenShare == null ? '0' : '2px';
  bar.backgroundSize = `${mark}, ${part(pod.estimate)} 2px, ${part(pod.ownConnections)} 12px, ${part(pod.agentsConnections)} 12px, 100% 12px`;
  bar.backgroundPositionX = part(pod.evenShare) + ', 0, 0, 0, 0';
}

function showRows() {
  const entries = [...services.get(selected).pods.values()];
  const scale = Math.max(1, ...entries.flatMap(({ pod }) => [pod.agentsConnections, pod.estimate, pod.evenShare]));
  for (const node of ofPods) node.hidden = !entries.length;
  showColumns(entries.map(({ pod }) => pod));
  for (const entry of entries) {
    entry.row ??= makeRow(entry);
    entry.scale = scale;
    showRow(entry);
  }
  arrange();
}

// Whether a column says anything that is not the same of all pods.
const isTelling = ([field, , , ...below], pods, level) =>
  ALWAYS.includes(field) || pods.some((pod) =>
    below.some((small) => pod[small]) || (field === 'countAge' ? pod.isLate : field === 'evenShare' ? (pod[field] ?? level) !== level : pod[field] !== pods[0][field]));

function showColumns(pods) {
  const level = pods.find(({ evenShare }) => evenShare != null)?.evenShare;
  const shown = COLUMNS.filter((column) => isTelling(column, pods, level));
  const now = COLUMNS.filter((column) => !shown.includes(column)).map(([field]) => field).join();
  if (now === hidden) return;
  hidden = now;
  $('table').style.setProperty('--columns', shown.map(([, , width]) => (width.endsWith('fr') ? `minmax(0, ${width})` : width)).join(' '));
  hideCells($('thead tr'));
}

function hideCells({ children }) {
  COLUMNS.forEach(([field], index) => (children[index].hidden = hidden.split(',').includes(field)));
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
const called = ({ pod }) => pod.podName || pod.address;
// In one state the pods that are furthest from even come first.
const sortKey = ({ pod }) => (sorting.field === 'state' ? STATES.indexOf(pod.state) * 100 - pod.off : pod[sorting.field]);

// Pods without a value come last, whichever way the others go.
function compare([, one], [, other]) {
  const a = sortKey(one);
  const b = sortKey(other);
  const isUnknown = a == null || b == null;
  const order = isUnknown ? (a == null) - (b == null) : sorting.turn * (typeof a === 'string' ? compareTexts(a, b) : a - b);
  return order || compareTexts(called(one), called(other));
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
  const entries = pickEntries([...pods.values()]);
  const names = shorten(entries.map(called));
  const lines = entries.map(({ pod, hue }, index) => ({
    name: names[index], color: color(hue), value: (sample) => sample.counts.get(pod.address),
  }));
  return [...lines, { name: 'even share', color: ink(), dash: [4, 4], value: (sample) => sample.even }];
}

// Without what all begin with, up to a sign between two words.
function shorten(names) {
  const first = names[0] ?? '';
  let end = 0;
  [...first].forEach((sign, index) => {
    if (/[-.:]/.test(sign) && names.every((name) => name.startsWith(first.slice(0, index + 1)))) end = index + 1;
  });
  return names.length > 1 ? names.map((name) => name.slice(end) || name) : names;
}

function pickEntries(entries) {
  // Those drawn already have a bonus, lest the lines change with every sample.
  const distance = ({ pod, drawn }) => (drawn ? 1.25 : 1) * Math.abs(pod.agentsConnections - (pod.evenShare ?? 0)) / (pod.weight || 1);
  if (entries.length > MAX_LINES) entries.sort((a, b) => distance(b) - distance(a));
  entries.forEach((entry, index) => (entry.drawn = index < MAX_LINES));
  return entries.slice(0, MAX_LINES);
}

const [imbalanceCanvas, countCanvas] = document.querySelectorAll('canvas');
const charts = [
  { canvas: imbalanceCanvas, floor: 1, finest: 0.01, label: ratio, makeLines: imbalanceLines },
  { canvas: countCanvas, floor: 0, finest: 1, label: whole, makeLines: countLines },
];

function showCharts() {
  const kept = services.get(selected);
  if (!kept) return;
  for (const chart of charts) if (chart.width) drawChart(chart, kept);
  $('#weighted').hidden = !kept.weighted;
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
  const widest = Math.max(...lines.map(({ name }) => pen.measureText(name).width));
  const view = makeView(chart, samples, lines, Math.min(60 + widest, width / 2));
  drawGrid(pen, view, chart.label);
  if (lines.length > MAX_LINES) drawBand(pen, view, samples);
  for (const line of lines) drawLine(pen, view, samples, line);
  drawLabels(pen, view, samples.at(-1), lines, chart);
}

function makeView({ floor, finest, width }, samples, lines, margin) {
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
    pen.fillText(name.length > 40 ? '…' + name.slice(-39) : name, left, place, Math.max(0, width - left));
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
sortBy('state', 1);
showTheme();
for (const { canvas } of charts) widths.observe(canvas);
$('#search').addEventListener('input', arrange);
$('#refresh').addEventListener('change', plan);
$('#pause').addEventListener('click', togglePause);
$('#theme').addEventListener('click', () => {
  style.colorScheme = isDark() ? 'light' : 'dark';
  showTheme();
});
darkness.addEventListener('change', showTheme);
document.addEventListener('visibilitychange', () => {
  plan();
  if (!document.hidden) update();
});
setInterval(showSummary, 1e3);
update();
