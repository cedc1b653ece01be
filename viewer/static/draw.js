// Figures: uPlot draws axes and zooms, the painters below draw tables and images into its canvas.
"use strict";

const TYPES = { f4: Float32Array, f8: Float64Array, i4: Int32Array, text: Int32Array };

/** Read what viewer/packed.py wrote: header fields, tables as {n, columns}, images as {shape, data}. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const found = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  for (const table of Object.values(found.tables)) {
    const columns = {};
    for (const one of table.columns) {
      columns[one.name] = {
        values: new TYPES[one.type](buffer, start + one.at, table.n), type: one.type, levels: one.levels,
      };
    }
    table.columns = columns;
  }
  for (const image of Object.values(found.images)) {
    image.data = new Uint8Array(buffer, start + image.at, image.shape[0] * image.shape[1]);
  }
  return found;
}

/** The value of a cell: a number, a text, or null. */
function cell(column, row) {
  const value = column.values[row];
  if (column.type === "text") return value < 0 ? null : column.levels[value];
  return Number.isNaN(value) ? null : value;
}

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Colours that are drawn on the page: black is ink, whatever the scheme. */
function colourOf(colour, ink) {
  if (!colour || colour === "#000000" || colour === "0.2") return ink;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const rgb = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour);
  if (!dark || !rgb) return colour;
  const levels = rgb.slice(1).map((text) => parseInt(text, 16));
  const light = 0.2126 * levels[0] + 0.7152 * levels[1] + 0.0722 * levels[2];
  const more = Math.max(0, (110 - light) / 255); // what is dark on paper is lost on a dark ground
  return `rgb(${levels.map((v) => Math.round(v + (255 - v) * more)).join(" ")})`;
}

// Blue to red through the ground; dark to bright; ink on the ground. Each is a list of stops.
const MAPS = {
  diverging: [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]],
  heat: [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]],
};

function mapColour(map, share) {
  const stops = MAPS[map] || MAPS.heat;
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((v, i) => Math.round(v + (stops[low + 1][i] - v) * (at - low)));
}

/** An image as a canvas of its own, one pixel a cell, row 0 at the bottom. */
function imageCanvas(image, map, ink) {
  const [rows, columns] = image.shape;
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = ink;
  probe.fillRect(0, 0, 1, 1);
  const rgb = probe.getImageData(0, 0, 1, 1).data;
  const palette = Array.from({ length: 256 }, (_, level) =>
    map === "ink" ? [rgb[0], rgb[1], rgb[2], level && level - 1]
      : level ? [...mapColour(map, (level - 1) / 254), 255] : [128, 128, 128, 40]);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const colour = palette[image.data[row * columns + column]];
      pixels.data.set(colour, 4 * ((rows - 1 - row) * columns + column));
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Rows of a table by the level of its column `by`, in the order of `colours`. */
function groups(layer, table) {
  if (!layer.by) return [[layer.name || "", layer.colour, null]];
  const column = table.columns[layer.by];
  const names = Object.keys(layer.colours || {});
  const rest = column.levels.filter((name) => !names.includes(name));
  return [...names, ...rest]
    .map((name) => [name, (layer.colours || {})[name], column.levels.indexOf(name)])
    .filter(([, , level]) => level >= 0);
}

const PAINT = {
  image(u, context, layer, found, ink) {
    layer.canvas ||= imageCanvas(found.images[layer.image], layer.map, ink);
    const [x0, x1] = [u.valToPos(layer.x0, "x", true), u.valToPos(layer.x1, "x", true)];
    const [y0, y1] = [u.valToPos(layer.y0, "y", true), u.valToPos(layer.y1, "y", true)];
    context.imageSmoothingEnabled = false;
    context.save();
    if (y1 > y0) { // axis from top to bottom
      context.translate(0, y0 + y1);
      context.scale(1, -1);
    }
    context.drawImage(layer.canvas, x0, Math.min(y0, y1), x1 - x0, Math.abs(y0 - y1));
    context.restore();
  },
  spans(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const { x0, x1 } = table.columns;
    const level = table.columns[layer.by];
    context.globalAlpha = layer.alpha || 0.2;
    for (let i = 0; i < table.n; i++) {
      context.fillStyle = colourOf((layer.colours || {})[level ? cell(level, i) : ""] || layer.colour, ink);
      const left = u.valToPos(x0.values[i], "x", true);
      context.fillRect(left, u.bbox.top, u.valToPos(x1.values[i], "x", true) - left, u.bbox.height);
    }
    context.globalAlpha = 1;
  },
  line(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const [x, y] = [table.columns[layer.x].values, table.columns[layer.y].values];
    for (const [, colour, level] of groups(layer, table)) {
      const of = level === null ? null : table.columns[layer.by].values;
      const own = [];
      for (let i = 0; i < table.n; i++) if (!of || of[i] === level) own.push(i);
      context.strokeStyle = context.fillStyle = colourOf(colour, ink);
      if (layer.low) {
        const [low, high] = [table.columns[layer.low].values, table.columns[layer.high].values];
        const known = own.filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
        context.globalAlpha = 0.18;
        context.beginPath();
        known.forEach((i) => context.lineTo(u.valToPos(x[i], "x", true), u.valToPos(high[i], "y", true)));
        known.reverse().forEach((i) => context.lineTo(u.valToPos(x[i], "x", true), u.valToPos(low[i], "y", true)));
        context.fill();
        context.globalAlpha = 1;
      }
      context.lineWidth = (layer.width || 1.5) * devicePixelRatio;
      context.setLineDash((layer.dash || []).map((n) => n * devicePixelRatio));
      context.beginPath();
      let open = false;
      for (const i of own) {
        if (!Number.isFinite(y[i]) || !Number.isFinite(x[i])) { open = false; continue; }
        const at = [u.valToPos(x[i], "x", true), u.valToPos(y[i], "y", true)];
        open ? context.lineTo(...at) : context.moveTo(...at);
        open = true;
      }
      context.stroke();
      context.setLineDash([]);
    }
  },
  points(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const [x, y] = [table.columns[layer.x].values, table.columns[layer.y].values];
    const size = (layer.size || 3) * devicePixelRatio;
    const value = layer.value && table.columns[layer.value];
    const rgb = layer.rgb && table.columns[layer.rgb];
    for (const [name, colour, level] of groups(layer, table)) {
      const of = level === null ? null : table.columns[layer.by].values;
      const shape = (layer.shapes || {})[name] || layer.shape || "circle";
      context.fillStyle = context.strokeStyle = colourOf(colour, ink);
      context.lineWidth = 1.2 * devicePixelRatio;
      context.globalAlpha = layer.alpha || 0.8;
      for (let i = 0; i < table.n; i++) {
        if ((of && of[i] !== level) || !Number.isFinite(x[i]) || !Number.isFinite(y[i])) continue;
        if (value) context.fillStyle = `rgb(${mapColour(layer.map, share(layer, value.values[i]))})`;
        if (rgb) context.fillStyle = cell(rgb, i) || "#999999";
        const [px, py] = [u.valToPos(x[i], "x", true), u.valToPos(y[i], "y", true)];
        if (layer.low) {
          const ends = [layer.low, layer.high].map((n) => u.valToPos(table.columns[n].values[i], "y", true));
          context.beginPath();
          context.moveTo(px, ends[0]);
          context.lineTo(px, ends[1]);
          context.stroke();
        }
        mark(context, shape, px, py, size);
      }
      context.globalAlpha = 1;
    }
  },
  ticks(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const [x, y] = [table.columns[layer.x].values, table.columns[layer.y].values];
    const half = (layer.height || 0.9) / 2;
    const unit = Math.abs(u.valToPos(half, "y", true) - u.valToPos(-half, "y", true));
    const height = Math.max(unit, (layer.least || 1) * devicePixelRatio);
    const width = Math.max(1, Math.round(devicePixelRatio * (layer.width || 1)));
    for (const [, colour, level] of groups(layer, table)) {
      const of = level === null ? null : table.columns[layer.by].values;
      context.fillStyle = colourOf(colour, ink);
      for (let i = 0; i < table.n; i++) {
        if (of && of[i] !== level) continue;
        context.fillRect(u.valToPos(x[i], "x", true), u.valToPos(y[i], "y", true) - height / 2, width, height);
      }
    }
  },
  bars(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const [x0, x1, y] = [layer.x0, layer.x1, layer.y].map((n) => table.columns[n].values);
    const ground = u.valToPos(u.scales.y.distr === 3 ? u.scales.y.min : 0, "y", true);
    for (const [, colour, level] of groups(layer, table)) {
      const of = level === null ? null : table.columns[layer.by].values;
      context.fillStyle = colourOf(colour || style("--accent"), ink);
      context.globalAlpha = layer.by ? 0.55 : 0.85;
      for (let i = 0; i < table.n; i++) {
        if (of && of[i] !== level) continue;
        const left = u.valToPos(x0[i], "x", true);
        const top = u.valToPos(y[i], "y", true);
        context.fillRect(left, top, Math.max(1, u.valToPos(x1[i], "x", true) - left - 0.5), ground - top);
      }
      context.globalAlpha = 1;
    }
  },
  vlines(u, context, layer, found, ink) {
    context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    layer.at.forEach((value, i) => {
      const at = Math.round(u.valToPos(value, "x", true));
      context.strokeStyle = context.fillStyle = colourOf((layer.colours || [])[i] || layer.colour, ink);
      context.lineWidth = devicePixelRatio;
      context.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
      context.beginPath();
      context.moveTo(at, u.bbox.top);
      context.lineTo(at, u.bbox.top + u.bbox.height);
      context.stroke();
      context.setLineDash([]);
      const name = (layer.names || [])[i];
      if (name) {
        const row = (i % 3) * 13 * devicePixelRatio;
        context.fillText(name, at + 3 * devicePixelRatio, u.bbox.top + 11 * devicePixelRatio + row);
      }
    });
  },
  strip(u, context, layer, found, ink) {
    const table = found.tables[layer.table];
    const { y0, y1, colour, name } = table.columns;
    const left = u.bbox.left + u.bbox.width + 4 * devicePixelRatio;
    context.save();
    context.beginPath();
    context.rect(left, u.bbox.top, 90 * devicePixelRatio, u.bbox.height);
    context.clip();
    context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    let last = Infinity;
    const order = [...Array(table.n).keys()].sort((a, b) => y0.values[a] - y0.values[b]);
    for (const i of order) {
      const [low, high] = [u.valToPos(y0.values[i], "y", true), u.valToPos(y1.values[i], "y", true)];
      context.fillStyle = cell(colour, i) || "transparent";
      context.fillRect(left, Math.min(low, high), 12 * devicePixelRatio, Math.abs(low - high));
      context.strokeStyle = ink;
      context.lineWidth = 0.5;
      context.strokeRect(left, Math.min(low, high), 12 * devicePixelRatio, Math.abs(low - high));
      const middle = (low + high) / 2;
      if (cell(name, i) && Math.abs(last - middle) > 12 * devicePixelRatio) {
        context.fillStyle = ink;
        context.fillText(cell(name, i), left + 16 * devicePixelRatio, middle);
        last = middle;
      }
    }
    context.restore();
  },
};

function share(layer, value) {
  const f = layer.log ? Math.log10 : (v) => v;
  return (f(value) - f(layer.low_value)) / (f(layer.high_value) - f(layer.low_value) || 1);
}

function mark(context, shape, x, y, size) {
  context.beginPath();
  if (shape === "circle") context.arc(x, y, size, 0, 2 * Math.PI);
  else if (shape === "square") context.rect(x - size, y - size, 2 * size, 2 * size);
  else if (shape === "triangle") {
    context.moveTo(x, y - 1.2 * size);
    context.lineTo(x + 1.1 * size, y + 0.8 * size);
    context.lineTo(x - 1.1 * size, y + 0.8 * size);
    context.closePath();
  } else if (shape === "ring") {
    context.arc(x, y, 2.2 * size, 0, 2 * Math.PI);
    context.stroke();
    return;
  } else { // cross
    context.moveTo(x - size, y - size);
    context.lineTo(x + size, y + size);
    context.moveTo(x - size, y + size);
    context.lineTo(x + size, y - size);
    context.stroke();
    return;
  }
  context.fill();
}

/** Smallest and largest value that the layers need along an axis. */
function extent(found, axis, given) {
  let [low, high] = [Infinity, -Infinity];
  const take = (value) => {
    if (Number.isFinite(value) && (!given.log || value > 0)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  };
  for (const layer of found.layers) {
    if (layer.type === "image") { take(layer[`${axis}0`]); take(layer[`${axis}1`]); }
    if (layer.type === "bars" && axis === "y") take(0);
    if (layer.type === "ticks" && axis === "x" && given.min !== undefined) continue;
    const names = layer.type === "strip" || layer.type === "spans" ? []
      : layer.type === "bars" ? (axis === "x" ? [layer.x0, layer.x1] : [layer.y])
        : axis === "x" ? [layer.x] : [layer.y, layer.low, layer.high];
    const table = layer.table && found.tables[layer.table];
    for (const name of names) {
      if (table && name && table.columns[name]) table.columns[name].values.forEach(take);
    }
  }
  if (low > high) [low, high] = given.log ? [0.1, 10] : [0, 1];
  const margin = given.log ? 1.2 : 0.04 * (high - low || Math.abs(high) || 1);
  const drawn = found.layers.some((l) => l.type === "image" || (l.type === "bars" && axis === "y"));
  const edge = drawn && !given.log ? 0 : margin;
  const ends = given.log ? [low / margin, high * margin] : [low - edge, high + margin * (drawn && axis === "x" ? 0 : drawn && found.layers.some((l) => l.type === "image") ? 0 : 1)];
  return [given.min ?? ends[0], given.max ?? ends[1]];
}

/** Ticks of a logarithmic axis: powers of ten, and between them their multiples if there is room. */
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const digits = decades > 5 ? [1] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of digits) {
      const value = digit * 10 ** power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found;
}

/** Whether a tick of a logarithmic axis has a label: of short axes more have one. */
function labelled(value, low, high) {
  const digit = Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));
  const decades = Math.log10(high / low);
  return digit === 1 || (decades < 2.2 && (digit === 2 || digit === 5)) || (decades < 0.8 && digit % 2 === 0);
}

function shortNumber(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
  return String(+value.toPrecision(4));
}

/** Draw a figure into an element, and return its uPlot. */
function draw(element, found) {
  const ink = style("--ink");
  const [xRange, yRange] = [extent(found, "x", found.x), extent(found, "y", found.y)];
  const strip = found.layers.some((layer) => layer.type === "strip");
  const width = Math.max(element.clientWidth, 200);
  const height = found.height || 320;
  if (found.x.equal) { // as many units a pixel along both axes
    const [across, up] = [width - 64, height - 66];
    const scale = Math.max((xRange[1] - xRange[0]) / across, (yRange[1] - yRange[0]) / up);
    for (const [range, pixels] of [[xRange, across], [yRange, up]]) {
      const more = (scale * pixels - (range[1] - range[0])) / 2;
      range[0] -= more;
      range[1] += more;
    }
  }
  const axis = (given, side) => ({
    label: given.label, labelSize: 22, rotate: side === "x" && (given.names || []).length > 8 ? -55 : 0, stroke: ink, font: "11px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif", size: side === "y" ? 52 : (given.names || []).length > 8 ? 60 : 34, gap: 4,
    grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1, size: 4 },
    ...(given.log ? {
      splits: (u, i, low, high) => logTicks(low, high),
      filter: (u, splits) => splits,
      values: (u, splits) => {
        const { min, max } = u.scales[side];
        return splits.map((v) => (labelled(v, min, max) ? shortNumber(v) : ""));
      },
    } : given.names ? { splits: () => given.names.map((_, i) => i), values: () => given.names } : {
      values: (u, splits) => splits.map(shortNumber),
    }),
  });
  const options = {
    width, height,
    padding: [10, strip ? 84 : 12, 0, 0], legend: { show: false },
    cursor: { points: { show: false }, drag: { x: true, y: true, uni: 25 }, bind: { dblclick: () => () => { home(); return null; } } },
    scales: {
      x: { time: false, auto: false, range: (u, low, high) => [low, high], distr: found.x.log ? 3 : 1 },
      y: { auto: false, range: (u, low, high) => [low, high], distr: found.y.log ? 3 : 1, dir: found.y.down ? -1 : 1 },
    },
    axes: [axis(found.x, "x"), axis(found.y, "y")],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [(u) => {
        const context = u.ctx;
        context.save();
        context.beginPath();
        context.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
        context.clip();
        for (const layer of found.layers) {
          if (layer.type !== "strip") PAINT[layer.type](u, context, layer, found, ink);
        }
        context.restore();
        for (const layer of found.layers) if (layer.type === "strip") PAINT.strip(u, context, layer, found, ink);
      }],
    },
  };
  const chart = new uPlot(options, [xRange, yRange], element);
  function home() {
    chart.batch(() => {
      chart.setScale("x", { min: xRange[0], max: xRange[1] });
      chart.setScale("y", { min: yRange[0], max: yRange[1] });
    });
  }
  home();
  chart.home = home;
  return chart;
}

/** The row of the nearest point that leads somewhere, within 12 pixels of a place in the figure. */
function nearest(chart, found, left, top) {
  let [best, href] = [12 * 12, null];
  for (const layer of found.layers) {
    if (layer.type !== "points" || !layer.href) continue;
    const table = found.tables[layer.table];
    const [x, y] = [table.columns[layer.x].values, table.columns[layer.y].values];
    for (let i = 0; i < table.n; i++) {
      const distance = (chart.valToPos(x[i], "x") - left) ** 2 + (chart.valToPos(y[i], "y") - top) ** 2;
      if (distance < best) [best, href] = [distance, cell(table.columns[layer.href], i)];
    }
  }
  return href;
}
