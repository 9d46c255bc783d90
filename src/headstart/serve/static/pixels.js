"use strict";
// Pixels as the network was trained on: {width, height, data}, data is RGB, one byte each. The same
// rules as OpenCV's resizing, which made the training images; results differ by rounding alone.
const headstartPixels = (() => {
  const MOST = 50_000_000; // pixels, more are refused
  const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
  // To the nearest, of halves to the even one, as Python and OpenCV round.
  const round = (x) => {
    const down = Math.floor(x), rest = x - down;
    return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
  };

  // An image or a video's picture as pixels, transparency over white, in strips to save memory.
  function read(source, width, height) {
    if (width * height > MOST) throw new Error(`too many pixels (${width}x${height})`);
    const rows = Math.max(1, Math.min(height, Math.floor(4e6 / width)));
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = rows;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const data = new Uint8Array(width * height * 3);
    for (let top = 0, to = 0; top < height; top += rows) {
      const count = Math.min(rows, height - top);
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, rows);
      context.drawImage(source, 0, -top, width, height);
      const strip = context.getImageData(0, 0, width, count).data;
      for (let from = 0; from < strip.length; from += 4) {
        data[to++] = strip[from];
        data[to++] = strip[from + 1];
        data[to++] = strip[from + 2];
      }
    }
    return { width, height, data };
  }

  // Upright pixels of a file; colours as they are stored, not as a profile would have them shown.
  async function decode(blob) {
    const bitmap = await createImageBitmap(blob, {
      imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "default",
    });
    try { return read(bitmap, bitmap.width, bitmap.height); } finally { bitmap.close(); }
  }

  // Of each of `to` places: where it begins in `from` places, and the weights there.
  function areas(from, to) {
    const scale = from / to;
    return Array.from({ length: to }, (_, place) => {
      const begin = place * scale, end = Math.min(begin + scale, from);
      const first = Math.floor(begin + 1e-9), last = Math.min(from, Math.ceil(end - 1e-9));
      const weights = [];
      for (let at = first; at < last; at++) weights.push(Math.min(at + 1, end) - Math.max(at, begin));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { first, weights: weights.map((w) => w / sum) };
    });
  }

  function taps(from, to, kernel, reach) {
    const scale = from / to;
    return Array.from({ length: to }, (_, place) => {
      const centre = (place + 0.5) * scale - 0.5, first = Math.floor(centre) - reach + 1;
      const weights = [];
      for (let at = first; at < first + 2 * reach; at++) weights.push(kernel(Math.abs(centre - at)));
      return { first, weights };
    });
  }
  const A = -0.75; // OpenCV's bicubic kernel
  const cubic = (from, to) => taps(from, to, (x) => x <= 1
    ? ((A + 2) * x - (A + 3)) * x * x + 1
    : x < 2 ? ((A * x - 5 * A) * x + 8 * A) * x - 4 * A : 0, 2);

  function nearest(from, to) {
    let at = 0.5 * (from / to);
    return Array.from({ length: to }, () => {
      const first = Math.min(from - 1, Math.floor(at));
      at += from / to;
      return { first, weights: [1] };
    });
  }

  // Columns first, then rows, in floating point; the end is rounded once.
  function apply(image, across, down) {
    const { width, height, data } = image, w = across.length, h = down.length;
    const middle = new Float32Array(height * w * 3);
    for (let x = 0; x < w; x++) {
      const { first, weights } = across[x];
      for (let k = 0; k < weights.length; k++) {
        const column = 3 * clamp(first + k, 0, width - 1), weight = weights[k];
        for (let y = 0, from = column, to = 3 * x; y < height; y++, from += 3 * width, to += 3 * w) {
          middle[to] += weight * data[from];
          middle[to + 1] += weight * data[from + 1];
          middle[to + 2] += weight * data[from + 2];
        }
      }
    }
    const result = new Uint8Array(h * w * 3), row = new Float32Array(3 * w);
    for (let y = 0; y < h; y++) {
      const { first, weights } = down[y];
      row.fill(0);
      for (let k = 0; k < weights.length; k++) {
        const from = 3 * w * clamp(first + k, 0, height - 1), weight = weights[k];
        for (let x = 0; x < 3 * w; x++) row[x] += weight * middle[from + x];
      }
      for (let x = 0; x < 3 * w; x++) result[3 * w * y + x] = clamp(round(row[x]), 0, 255);
    }
    return { width: w, height: h, data: result };
  }

  function area(image, w, h) {
    if (image.width === 2 * w && image.height === 2 * h) return halve(image);
    return apply(image, areas(image.width, w), areas(image.height, h));
  }

  // By exactly two OpenCV computes in whole numbers, and rounds halves up.
  function halve({ width, height, data }) {
    const w = width / 2, h = height / 2, result = new Uint8Array(w * h * 3);
    for (let y = 0, to = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        for (let c = 0, at = 6 * (y * width + x); c < 3; c++, at++, to++) {
          const below = at + 3 * width;
          result[to] = (data[at] + data[at + 3] + data[below] + data[below + 3] + 2) >> 2;
        }
      }
    }
    return { width: w, height: h, data: result };
  }

  // Linear interpolation in whole numbers, with eleven bits for the weights, as OpenCV has it.
  function linear(image, w, h) {
    const { width, height, data } = image;
    if (width === 2 * w && height === 2 * h) return halve(image);
    const places = (from, to) => Array.from({ length: to }, (_, place) => {
      const at = Math.fround((place + 0.5) * (from / to) - 0.5), first = Math.floor(at);
      const rest = Math.fround(at - first);
      return [first, round(Math.fround(1 - rest) * 2048), round(rest * 2048)];
    });
    const across = places(width, w).map(([first, a, b]) =>
      (first < 0 ? [0, 2048, 0] : first >= width - 1 ? [width - 1, 2048, 0] : [first, a, b]));
    const middle = new Int32Array(height * w * 3);
    for (let y = 0, to = 0; y < height; y++) {
      for (const [first, a, b] of across) {
        const at = 3 * (y * width + first), next = b ? at + 3 : at;
        for (let c = 0; c < 3; c++) middle[to++] = a * data[at + c] + b * data[next + c];
      }
    }
    const result = new Uint8Array(h * w * 3);
    places(height, h).forEach(([first, a, b], y) => {
      const above = 3 * w * clamp(first, 0, height - 1), below = 3 * w * clamp(first + 1, 0, height - 1);
      for (let x = 0; x < 3 * w; x++) {
        const sum = ((a * (middle[above + x] >> 4)) >> 16) + ((b * (middle[below + x] >> 4)) >> 16);
        result[3 * w * y + x] = clamp((sum + 2) >> 2, 0, 255);
      }
    });
    return { width: w, height: h, data: result };
  }

  // A large image loses what the network would not see, by means of blocks of 2, 4 or 8.
  function reduce(image, { height, width, interpolation }) {
    const least = interpolation === "nearest" ? [2500, 2500] : [2 * height, 2 * width];
    for (const factor of [8, 4, 2]) {
      const h = Math.ceil(image.height / factor), w = Math.ceil(image.width / factor);
      if (h >= least[0] && w >= least[1]) return area(image, w, h);
    }
    return image;
  }

  // What is seen of the image, and where it lies in the network's input: [top, left, height, width].
  function windows(image, { height, width, resize }) {
    const { width: w, height: h } = image;
    const centred = (length, whole) => Math.floor((whole - length) / 2);
    if (resize === "crop") {
      const rows = h * width > w * height ? Math.max(1, round(w * height / width)) : h;
      const columns = h * width > w * height ? w : Math.max(1, round(h * width / height));
      return [[centred(rows, h), centred(columns, w), rows, columns], [0, 0, height, width]];
    }
    if (resize === "pad") {
      const scale = Math.min(height / h, width / w);
      const rows = Math.min(height, Math.max(1, round(h * scale)));
      const columns = Math.min(width, Math.max(1, round(w * scale)));
      return [[0, 0, h, w], [centred(rows, height), centred(columns, width), rows, columns]];
    }
    return [[0, 0, h, w], [0, 0, height, width]];
  }

  function cut(image, [top, left, height, width]) {
    if (height === image.height && width === image.width) return image;
    const data = new Uint8Array(height * width * 3);
    for (let y = 0; y < height; y++) {
      const from = 3 * ((top + y) * image.width + left);
      data.set(image.data.subarray(from, from + 3 * width), 3 * y * width);
    }
    return { width, height, data };
  }

  function interpolate(image, h, w, how) {
    if (image.height === h && image.width === w) return image;
    if (how === "nearest") return apply(image, nearest(image.width, w), nearest(image.height, h));
    if (how === "bilinear") return linear(image, w, h);
    if (how === "bicubic") return apply(image, cubic(image.width, w), cubic(image.height, h));
    if (image.height >= h && image.width >= w) return area(image, w, h);
    if (image.height > h || image.width > w) {
      image = area(image, Math.min(image.width, w), Math.min(image.height, h));
    }
    return linear(image, w, h);
  }

  // The network's input of an image of any size.
  function prepare(image, geometry) {
    image = reduce(image, geometry);
    const [seen, place] = windows(image, geometry), { height, width } = geometry;
    const part = interpolate(cut(image, seen), place[2], place[3], geometry.interpolation);
    if (part.height === height && part.width === width) return part;
    const data = new Uint8Array(height * width * 3);
    for (let y = 0; y < part.height; y++) {
      data.set(part.data.subarray(3 * y * part.width, 3 * (y + 1) * part.width),
        3 * ((place[0] + y) * width + place[1]));
    }
    return { width, height, data };
  }

  return { read, decode, prepare, windows };
})();
