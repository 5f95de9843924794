// Follows the pointer over a chart and names the nearest point of each curve.
const charts = JSON.parse(document.getElementById('charts').textContent);
const tip = document.getElementById('tip');
const figure = v => Math.abs(v) >= 1e4 ? Math.round(v).toLocaleString('en-US') : String(+v.toPrecision(4));
const nearest = (xs, x) => {
  let low = 0, high = xs.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (xs[mid] < x) low = mid; else high = mid;
  }
  return x - xs[low] < xs[high] - x ? low : high;
};
const element = (name, attributes) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
};
const place = event => {
  tip.style.display = 'block';
  const flip = event.clientX + tip.offsetWidth + 24 > innerWidth;
  tip.style.left = (flip ? event.clientX - tip.offsetWidth - 14 : event.clientX + 14) + 'px';
  tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + 'px';
};
for (const id in charts) {
  const chart = charts[id], svg = document.getElementById(id), layer = svg.querySelector('.hover');
  const [left, top, right, bottom] = chart.frame;
  const hide = () => { layer.replaceChildren(); tip.style.display = 'none'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    if (at < left || at > right) return hide();
    const x = chart.x[0] + (at - left) / (right - left) * (chart.x[1] - chart.x[0]);
    layer.replaceChildren(element('line', {class: 'cursor', x1: at, x2: at, y1: top, y2: bottom}));
    tip.replaceChildren();
    const head = document.createElement('div');
    head.textContent = chart.label + ' ' + (x >= 100 ? figure(Math.round(x)) : +x.toPrecision(3));
    tip.append(head);
    for (const curve of chart.curves) {
      const i = nearest(curve.x, x);
      const cx = left + (curve.x[i] - chart.x[0]) / (chart.x[1] - chart.x[0]) * (right - left);
      const cy = bottom - (curve.y[i] - chart.y[0]) / (chart.y[1] - chart.y[0]) * (bottom - top);
      if (cy >= top) layer.append(element('circle', {class: 'dot c' + curve.colour, cx, cy, r: 4}));
      const row = document.createElement('div'), swatch = document.createElement('span');
      const name = document.createElement('span'), value = document.createElement('b');
      swatch.className = 'swatch c' + curve.colour;
      name.textContent = curve.name;
      value.textContent = figure(curve.y[i]);
      row.append(swatch, name, value);
      tip.append(row);
    }
    place(event);
  });
}
// Names the layer, the expert and the step below the pointer over a heat map.
for (const svg of document.querySelectorAll('svg[data-steps]')) {
  const [left, top, right, bottom] = svg.dataset.frame.split(' ').map(Number);
  const steps = svg.dataset.steps.split(' ');
  const hide = () => { tip.style.display = 'none'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), unit = svg.viewBox.baseVal.width / box.width;
    const x = ((event.clientX - box.left) * unit - left) / (right - left);
    const y = ((event.clientY - box.top) * unit - top) / (bottom - top);
    if (x < 0 || x >= 1 || y < 0 || y >= 1) return hide();
    const expert = Math.floor(y * svg.dataset.experts), step = steps[Math.floor(x * steps.length)];
    tip.textContent = `layer ${svg.dataset.layer}, expert ${expert}, step ${step}`;
    place(event);
  });
}
