"use strict";
// The viewer of a report: planes on canvases with one window, one zoom and one position for all images.
window.report = (async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { rows, columns, images, count } = data;
  const frames = data.frames.length, pixels = rows * columns, last = images.length - 1;

  const state = {
    quantity: "magnitude", one: false, shown: Math.max(0, images.findIndex((i) => i.name === "model")),
    before: data.truth ?? 0, slice: count >> 1, frame: 0, zoom: 1, x: 0.5, y: 0.5,
    low: 0, high: data.window, smooth: true,
  };
  if (state.before === state.shown) state.before = Math.max(0, state.shown - 1);
  const limits = { magnitude: [0, data.window], phase: [-Math.PI, Math.PI], error: [0, data.limit] };
  const ranges = { magnitude: [0, 1], phase: [-Math.PI, Math.PI], error: [0, data.limit ? Math.min(1, 4 * data.limit) : 1] };
  const windows = structuredClone(limits);

  // ---- theme -----------------------------------------------------------------------------------------------
  const root = document.documentElement;
  try { if (localStorage.resolventTheme) root.dataset.theme = localStorage.resolventTheme; } catch { /* no storage */ }
  $("theme").onclick = () => {
    const dark = getComputedStyle(root).colorScheme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.resolventTheme = root.dataset.theme; } catch { /* no storage */ }
  };

  // ---- data ------------------------------------------------------------------------------------------------
  async function inflate(text) {
    const zipped = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  for (const image of images) {
    const bytes = await inflate(image.magnitude), size = bytes.length / 2;
    image.values = new Uint16Array(size);
    for (let i = 0; i < size; i++) image.values[i] = bytes[i] | (bytes[size + i] << 8);
    image.angles = image.phase ? await inflate(image.phase) : null;
    image.magnitude = image.phase = null;
  }

  // One number of an image in the quantity that is shown: a fraction of the largest value, radians, or an error.
  function value(image, i) {
    if (state.quantity === "phase") return (image.angles[i] / 256 - 0.5) * 2 * Math.PI;
    if (state.quantity === "magnitude") return image.values[i] / 4095;
    return Math.abs(image.values[i] - images[data.truth].values[i]) / 4095 / data.largest;
  }

  // Whether an image has that quantity: the reference has no error, and an image may have no phase.
  function has(n, quantity = state.quantity) {
    if (quantity === "error") return data.truth !== null && n !== data.truth;
    return quantity !== "phase" || images[n].angles !== null;
  }

  // ---- colours ---------------------------------------------------------------------------------------------
  const ramp = (stops) => {
    const table = new Uint8Array(256 * 3);
    for (let i = 0; i < 256; i++) {
      const at = (i / 255) * (stops.length - 1), k = Math.min(stops.length - 2, at | 0), t = at - k;
      for (let c = 0; c < 3; c++) table[3 * i + c] = stops[k][c] * (1 - t) + stops[k + 1][c] * t;
    }
    return table;
  };
  const tables = {
    magnitude: ramp([[0, 0, 0], [255, 255, 255]]),
    error: ramp([[0, 0, 0], [35, 17, 80], [95, 25, 110], [158, 47, 102], [212, 80, 72], [245, 135, 50], [252, 200, 90], [255, 255, 220]]),
    phase: ramp([[226, 216, 226], [110, 144, 190], [72, 40, 120], [47, 20, 54], [114, 35, 74], [186, 110, 92], [226, 216, 226]]),
  };

  // ---- panels ----------------------------------------------------------------------------------------------
  const box = $("panels"), methods = $("methods"), screen = document.createElement("canvas");
  screen.width = columns; screen.height = rows;
  const brush = screen.getContext("2d"), paint = brush.createImageData(columns, rows);
  box.style.setProperty("--across", images.length);
  box.style.setProperty("--shape", columns / (rows * data.aspect));
  images.forEach((image, n) => {
    const panel = document.createElement("figure");
    panel.className = "panel";
    panel.innerHTML = '<div class="plane"><canvas tabindex="0" role="img"></canvas></div><figcaption><strong></strong> <span></span></figcaption>';
    panel.querySelector("strong").textContent = image.label;
    panel.querySelector("span").textContent = image.score;
    image.panel = box.appendChild(panel);
    image.canvas = panel.querySelector("canvas");
    data.edges.forEach((letter, side) => {
      const edge = image.canvas.parentElement.appendChild(document.createElement("span"));
      edge.className = `edge ${["left", "right", "top", "bottom"][side]}`;
      edge.textContent = letter;
    });
    image.canvas.style.aspectRatio = `${columns} / ${rows * data.aspect}`;
    gestures(image.canvas, n);
    const choice = document.createElement("label");
    choice.innerHTML = '<input type="radio" name="method"><span></span>';
    choice.querySelector("span").textContent = image.label;
    choice.querySelector("input").onchange = () => { stopBlinking(); choose(n); };
    image.radio = methods.appendChild(choice).querySelector("input");
  });

  function offset(n) { return (state.slice * frames + state.frame) * pixels; }

  function draw(image) {
    const canvas = image.canvas, ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(width * rows * data.aspect / columns);
    if (!width) return;
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const [low, high] = windows[state.quantity], table = tables[state.quantity], start = offset();
    const gain = 255 / Math.max(high - low, 1e-9);
    for (let i = 0; i < pixels; i++) {
      const level = Math.max(0, Math.min(255, Math.round((value(image, start + i) - low) * gain))) * 3;
      paint.data[4 * i] = table[level]; paint.data[4 * i + 1] = table[level + 1];
      paint.data[4 * i + 2] = table[level + 2]; paint.data[4 * i + 3] = 255;
    }
    brush.putImageData(paint, 0, 0);
    const pen = canvas.getContext("2d"), w = columns / state.zoom, h = rows / state.zoom;
    pen.imageSmoothingEnabled = state.smooth;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(screen, state.x * columns - w / 2, state.y * rows - h / 2, w, h, 0, 0, width, height);
    canvas.setAttribute("aria-label", `${image.label}, ${state.quantity}` + place());
  }

  function place() {
    return (data.of_slices > 1 ? `, slice ${data.slices[state.slice]} of ${data.of_slices}` : "")
      + (data.of_frames > 1 ? `, frame ${data.frames[state.frame]} of ${data.of_frames}` : "");
  }

  // ---- everything that is shown, once per screen refresh -----------------------------------------------------
  let asked = false;
  function refresh() { if (!asked) { asked = true; requestAnimationFrame(render); } }
  function render() {
    asked = false;
    const half = 0.5 / state.zoom;
    state.x = Math.min(1 - half, Math.max(half, state.x));
    state.y = Math.min(1 - half, Math.max(half, state.y));
    box.classList.toggle("one", state.one);
    methods.hidden = !state.one;
    images.forEach((image, n) => {
      image.panel.hidden = state.one ? n !== state.shown : !has(n);
      image.panel.classList.toggle("zoomed", state.zoom > 1);
      image.radio.checked = n === state.shown;
      image.radio.parentElement.hidden = !has(n);
      if (!image.panel.hidden) draw(image);
    });
    if (!state.one) box.style.setProperty("--across", images.filter((_, n) => has(n)).length);
    for (const name of ["quantity", "layout"]) {
      const wanted = name === "layout" ? (state.one ? "one" : "all") : state.quantity;
      $(name).querySelector(`[value="${wanted}"]`).checked = true;
    }
    $("zoom-reset").textContent = `${state.zoom < 10 ? +state.zoom.toFixed(1) : Math.round(state.zoom)}×`;
    $("slice").value = state.slice; $("frame").value = state.frame;
    $("slice-value").textContent = `${data.slices[state.slice]} of ${data.of_slices}`;
    $("frame-value").textContent = `${data.frames[state.frame]} of ${data.of_frames}`;
    legend();
    measurements();
    box.dispatchEvent(new Event("drawn"));
  }

  const digits = (v) => (v === 0 ? "0" : Math.abs(v) >= 1e-2 && Math.abs(v) < 1e6 ? String(+v.toPrecision(3)) : v.toExponential(2));
  const worded = { magnitude: (v) => digits(v * data.peak), phase: (v) => `${+(v / Math.PI).toFixed(2)} π`, error: (v) => `${digits(100 * v)} %` };
  const named = { magnitude: "magnitude, units of the file", phase: "phase", error: "of the largest reference value" };

  function legend() {
    const [low, high] = windows[state.quantity], [least, most] = ranges[state.quantity], say = worded[state.quantity];
    const bar = $("bar").getContext("2d"), strip = bar.createImageData(256, 1), table = tables[state.quantity];
    const floor = Math.max(low, least); // nothing lies below, wherever the window begins
    for (let i = 0; i < 256; i++) {
      const level = 3 * Math.round((255 * (floor - low) + i * (high - floor)) / (high - low));
      strip.data.set([table[level], table[level + 1], table[level + 2], 255], 4 * i);
    }
    bar.putImageData(strip, 0, 0);
    $("scale-low").textContent = say(floor);
    $("scale-high").textContent = (state.quantity === "phase" ? "" : "≥ ") + say(high);
    $("scale-name").textContent = named[state.quantity];
    $("level").value = (1000 * ((low + high) / 2 - least)) / (most - least);
    $("width").value = (1000 * (high - low)) / (most - least);
    $("level-value").textContent = say((low + high) / 2);
    $("width-value").textContent = say(high - low);
  }

  // ---- k-space and mask --------------------------------------------------------------------------------------
  for (const name of ["kspace", "mask"]) if (data[name]) data[name].values = await inflate(data[name].data);
  let drawn = "";
  function measurements() {
    for (const name of ["kspace", "mask"]) {
      const of = data[name];
      if (!of) continue;
      const at = (Math.min(state.slice, of.slices - 1) * of.frames + Math.min(state.frame, of.frames - 1)) * of.rows * of.columns;
      const canvas = $(name), key = `${name}${at}`;
      if (canvas.dataset.key === key) continue;
      canvas.dataset.key = key;
      canvas.width = of.columns; canvas.height = of.rows;
      canvas.style.aspectRatio = `${of.columns} / ${of.rows}`;
      const pen = canvas.getContext("2d"), out = pen.createImageData(of.columns, of.rows);
      for (let i = 0; i < of.rows * of.columns; i++) {
        const v = name === "mask" ? 255 * of.values[at + i] : of.values[at + i];
        out.data.set([v, v, v, 255], 4 * i);
      }
      pen.putImageData(out, 0, 0);
    }
  }

  // ---- what can be done --------------------------------------------------------------------------------------
  function choose(n) {
    if (n > last || !has(n)) return;
    if (n !== state.shown) state.before = state.shown;
    state.shown = n; state.one = true;
    refresh();
  }
  function quantity(name) {
    const found = [state.shown, state.before, ...images.keys()].filter((n) => has(n, name));
    if (!found.length) return;
    state.quantity = name;
    state.shown = found[0];
    state.before = found.find((n) => n !== found[0]) ?? found[0];
    refresh();
  }
  function zoom(factor, x = state.x, y = state.y) {
    const before = state.zoom;
    state.zoom = Math.min(32, Math.max(1, before * factor));
    const moved = 1 - before / state.zoom;
    state.x += (x - state.x) * moved; state.y += (y - state.y) * moved;
    refresh();
  }
  function whole() { state.zoom = 1; state.x = state.y = 0.5; refresh(); }
  function setWindow(level, width) {
    const [least, most] = ranges[state.quantity];
    width = Math.min(most - least, Math.max((most - least) / 1000, width));
    level = Math.min(most, Math.max(least, level));
    windows[state.quantity] = [level - width / 2, level + width / 2];
    refresh();
  }
  function shiftWindow(dLevel, factor) {
    const [low, high] = windows[state.quantity], [least, most] = ranges[state.quantity];
    setWindow((low + high) / 2 + dLevel * (most - least), (high - low) * factor);
  }
  function go(name, to) {
    const total = name === "slice" ? count : frames;
    state[name] = Math.min(total - 1, Math.max(0, to));
    refresh();
  }

  let blinking = 0, playing = 0;
  function stopBlinking() {
    clearInterval(blinking);
    blinking = 0;
    $("blink").setAttribute("aria-pressed", "false");
  }
  function blink() {
    if (blinking) return stopBlinking();
    const flip = () => { [state.shown, state.before] = [state.before, state.shown]; refresh(); };
    state.one = true;
    blinking = setInterval(flip, 700);
    $("blink").setAttribute("aria-pressed", "true");
    flip();
  }
  function play() {
    const name = frames > 1 ? "frame" : "slice", total = frames > 1 ? frames : count;
    if (total < 2) return;
    if (playing) { clearInterval(playing); playing = 0; }
    else playing = setInterval(() => { state[name] = (state[name] + 1) % total; refresh(); }, 100);
    $("play").textContent = playing ? "Pause" : "Play";
  }

  // ---- mouse and touch ---------------------------------------------------------------------------------------
  function gestures(canvas, n) {
    const fingers = new Map();
    const at = (event) => {
      const frame = canvas.getBoundingClientRect(), span = 1 / state.zoom;
      return [state.x + ((event.clientX - frame.left) / frame.width - 0.5) * span, state.y + ((event.clientY - frame.top) / frame.height - 0.5) * span];
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), ...at(event));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event);
      if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    });
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      readout(...at(event));
      const old = fingers.get(event.pointerId);
      if (!old) return;
      const frame = canvas.getBoundingClientRect(), dx = (event.clientX - old.clientX) / frame.width, dy = (event.clientY - old.clientY) / frame.height;
      if (fingers.size === 2) {
        const other = [...fingers.values()].find((f) => f.pointerId !== event.pointerId);
        const gap = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
        zoom(gap(event) / Math.max(1, gap(old)), ...at(other));
      } else if (event.shiftKey) shiftWindow(-dy / 2, Math.exp(2 * dx));
      else if (state.zoom > 1) { state.x -= dx / state.zoom; state.y -= dy / state.zoom; refresh(); }
      fingers.set(event.pointerId, event);
    });
    canvas.addEventListener("dblclick", () => (state.one ? (stopBlinking(), (state.one = false), refresh()) : choose(n)));
  }

  function readout(x, y) {
    const column = Math.floor(x * columns), row = Math.floor(y * rows);
    if (column < 0 || row < 0 || column >= columns || row >= rows) return;
    const i = offset() + row * columns + column;
    const parts = images.map((image, n) => (has(n) ? `${image.label} ${worded[state.quantity](value(image, i))}` : ""));
    $("readout").textContent = [`row ${row}, column ${column}`, ...parts.filter(Boolean)].join(" · ");
  }

  // ---- buttons, sliders, keys --------------------------------------------------------------------------------
  $("quantity").onchange = (event) => quantity(event.target.value);
  $("layout").onchange = (event) => { stopBlinking(); state.one = event.target.value === "one"; refresh(); };
  $("blink").onclick = blink;
  $("play").onclick = play;
  $("zoom-in").onclick = () => zoom(1.5);
  $("zoom-out").onclick = () => zoom(1 / 1.5);
  $("zoom-reset").onclick = whole;
  $("slice").oninput = (event) => go("slice", +event.target.value);
  $("frame").oninput = (event) => go("frame", +event.target.value);
  const slide = () => {
    const [least, most] = ranges[state.quantity];
    setWindow(least + (+$("level").value / 1000) * (most - least), (+$("width").value / 1000) * (most - least));
  };
  $("level").oninput = $("width").oninput = slide;
  $("slice").max = count - 1; $("frame").max = frames - 1;
  $("slice-row").hidden = count < 2; $("frame-row").hidden = frames < 2;
  $("play-row").hidden = count * frames < 2;

  const keys = {
    s: () => { stopBlinking(); state.one = false; refresh(); }, b: blink, m: () => quantity("magnitude"), p: () => quantity("phase"),
    e: () => quantity("error"), "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": whole,
    "[": () => shiftWindow(0, 1 / 1.15), "]": () => shiftWindow(0, 1.15), ",": () => shiftWindow(-0.02, 1), ".": () => shiftWindow(0.02, 1),
    r: () => { windows[state.quantity] = [...limits[state.quantity]]; refresh(); }, i: () => { state.smooth = !state.smooth; refresh(); },
    ArrowUp: () => go("slice", state.slice - 1), ArrowDown: () => go("slice", state.slice + 1),
    ArrowLeft: () => go("frame", state.frame - 1), ArrowRight: () => go("frame", state.frame + 1), " ": play,
  };
  const pan = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  document.addEventListener("keydown", (event) => {
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key, on = event.target.tagName;
    if (event.ctrlKey || event.metaKey || event.altKey || on === "SELECT") return;
    if ((on === "INPUT" && (name === " " || name.startsWith("Arrow"))) || (/^(BUTTON|SUMMARY|A)$/.test(on) && name === " ")) return;
    const scrolls = name.startsWith("Arrow") && !event.target.closest("canvas");
    if (event.shiftKey && pan[name]) { state.x += (0.1 * pan[name][0]) / state.zoom; state.y += (0.1 * pan[name][1]) / state.zoom; refresh(); }
    else if (/^[1-9]$/.test(name)) { stopBlinking(); choose(+name - 1); }
    else if (keys[name] && !(scrolls && count * frames < 2)) keys[name]();
    else return;
    event.preventDefault();
  });

  new ResizeObserver(refresh).observe(box);
  render();
  root.dataset.ready = "yes";
  return { state, data, windows, images };
})();
