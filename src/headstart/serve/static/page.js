"use strict";
// One page before two classifiers: the browser's own, whose model lies in headstartData, or, where
// there is none, the server that the page came from.
(() => {
  const $ = (id) => document.getElementById(id);
  const card = self.headstartCard ?? null, data = self.headstartData ?? null;
  const TOP = 5, CAMERA = 300; // classes shown; milliseconds between two pictures of the camera
  const ACCURACIES = [0.9, 0.95, 0.98, 0.99], RATES = [0.01, 0.05, 0.1]; // to choose from
  const answers = [];

  function make(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const tell = (text) => { $("told").textContent = text; };
  const spoke = (name) => `What spoke for ${name} (orange) and against it (blue)`;
  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  // --- the browser's own classifier ----------------------------------------------------------
  async function unpack(name) {
    const packed = Uint8Array.from(atob(data[name]), (letter) => letter.charCodeAt(0));
    delete data[name]; // the text takes a third more than the bytes
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function open() {
    const [script, wasm, model] = await Promise.all(["script", "wasm", "model"].map(unpack));
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const runtime = await import(address);
    runtime.env.wasm.numThreads = 1; // threads need headers that no file has
    runtime.env.wasm.wasmBinary = wasm.buffer;
    const session = await runtime.InferenceSession.create(model, { executionProviders: ["wasm"] });
    return { runtime, session };
  }

  const opened = data ? open() : null;
  let turn = Promise.resolve(); // the runtime computes one image at a time

  async function compute(pixels) {
    const { runtime, session } = await opened;
    const input = headstartPixels.prepare(pixels, card.geometry);
    const tensor = new runtime.Tensor("uint8", input.data, [1, input.height, input.width, 3]);
    const mine = turn.then(() => session.run({ image: tensor }));
    turn = mine.catch(() => {});
    const { probabilities, typicality, ...maps } = await mine;
    return { probabilities: [...probabilities.data], typicality: typicality?.data[0], maps };
  }

  async function classifyHere(pixels) {
    const { probabilities, typicality, maps } = await compute(pixels);
    const order = probabilities.map((_, c) => c).sort((a, b) => probabilities[b] - probabilities[a]);
    const top = order.slice(0, TOP).map((c) => [card.classes[c], probabilities[c]]);
    const least = card.not_sure[$("accuracy").value];
    const answer = { top, probabilities, typicality }, reject = $("reject").value;
    if (reject && typicality <= Number(reject)) answer.silence = "none of these";
    else if (least && probabilities[order[0]] < least[order[0]]) answer.silence = "not sure";
    else if (card.thresholds) {
      answer.labels = card.classes.filter((_, c) => probabilities[c] >= card.thresholds[c]);
      answer.label = answer.labels.join(";");
    } else answer.label = card.classes[order[0]];
    answer.map = draw(pixels, maps, probabilities, order[0]);
    return answer;
  }

  // Pictures that the page carries, classified here: how far from what they are known to give.
  async function verify() {
    let difference = 0;
    const beyond = [];
    for (const [place, { image, probabilities }] of card.golden.entries()) {
      const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
      const found = await compute(await headstartPixels.decode(new Blob([bytes])));
      const off = Math.max(...probabilities.map((p, c) => Math.abs(p - found.probabilities[c])));
      difference = Math.max(difference, off);
      if (!(off <= card.tolerance)) beyond.push(`picture ${place + 1}: differs by ${off}`);
    }
    return { images: card.golden.length, difference, tolerance: card.tolerance, beyond };
  }

  async function tellVerified() {
    const { images, difference, tolerance, beyond } = await verify();
    $("verified").textContent = `${beyond.length ? "Not as it should be" : "As it should be"}: ${images} drawn ` +
      `pictures, a probability differs by up to ${difference.toExponential(1)} here, allowed ${tolerance}.`;
  }

  // What spoke for a class, place by place, in log odds: the others count by their probability
  // among themselves, so that the map shows what told the class from those that came near.
  function draw(image, maps, probabilities, chosen) {
    const names = Object.keys(maps);
    if (!names.length || !card.bias) return null;
    const others = probabilities.reduce((sum, p, c) => (c === chosen ? sum : sum + p), 0);
    const weights = probabilities.map((p, c) => (c === chosen ? 1
      : card.thresholds ? 0 : -(others > 0 ? p / others : 1 / (probabilities.length - 1))));
    const side = 64, total = new Float32Array(side * side);
    for (const name of names) {
      const [, classes, h, w] = maps[name].dims, values = maps[name].data;
      const summed = new Float32Array(h * w);
      for (let c = 0; c < classes; c++) {
        for (let at = 0; at < h * w; at++) summed[at] += weights[c] * values[c * h * w + at];
      }
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) total[side * y + x] += blend(summed, h, w, (y + 0.5) / side, (x + 0.5) / side) * h * w / side ** 2;
      }
    }
    const even = card.bias.reduce((sum, b, c) => sum + weights[c] * b, 0) / side ** 2;
    const most = total.reduce((top, v) => Math.max(top, Math.abs(v + even)), 0) || 1;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), shown = context.createImageData(side, side);
    total.forEach((value, at) => {
      const strength = (value + even) / most;
      shown.data.set([...(strength > 0 ? [213, 94, 0] : [0, 114, 178]), 200 * Math.abs(strength)], 4 * at);
    });
    context.putImageData(shown, 0, 0);
    const [seen, place] = headstartPixels.windows(image, card.geometry);
    return { canvas, side, image: [image.height, image.width], seen, place };
  }

  function blend(values, h, w, down, across) {
    const y = Math.min(h - 1, Math.max(0, down * h - 0.5)), x = Math.min(w - 1, Math.max(0, across * w - 0.5));
    const top = Math.floor(y), left = Math.floor(x), below = Math.min(h - 1, top + 1), right = Math.min(w - 1, left + 1);
    const mix = (row) => values[row * w + left] * (1 - (x - left)) + values[row * w + right] * (x - left);
    return mix(top) * (1 - (y - top)) + mix(below) * (y - top);
  }

  // --- the server's ---------------------------------------------------------------------------
  function unlock() {
    const key = $("key").querySelector("input").value;
    return key ? { authorization: `Bearer ${key}` } : {};
  }

  async function ask(blob, options) {
    const type = blob.type.startsWith("image/") ? blob.type : "application/octet-stream";
    const asked = new URLSearchParams({ top_k: TOP, ...options });
    for (;;) {
      const response = await fetch(`v1/predict?${asked}`,
        { method: "POST", body: blob, headers: { "content-type": type, ...unlock() } });
      if (response.status === 503) {
        await new Promise((go) => setTimeout(go, 1000 * (response.headers.get("retry-after") || 1)));
        continue;
      }
      const found = await response.json();
      const told = found.predictions?.[0];
      if (!told || told.error) throw new Error(told?.error ?? found.error ?? found.detail ?? response.statusText);
      return told;
    }
  }

  async function classifyThere(blob) {
    const chosen = ["accuracy", "reject"].map((name) => [name, $(name).value]).filter(([, value]) => value);
    const told = await ask(blob, Object.fromEntries(chosen));
    const top = Object.entries(told.probabilities ?? { [told.label]: told.probability }).slice(0, TOP);
    const silence = told.answer && told.answer !== "answered" ? told.answer : undefined;
    return { top, label: told.label ?? "", labels: told.labels, silence };
  }

  async function explainThere(blob) {
    const { explanation } = await ask(blob, { explain: true }), drawn = new Image();
    drawn.src = explanation.picture;
    drawn.alt = spoke(explanation.class);
    return drawn;
  }

  async function offerThere() { // what the server's classifier can tell
    const response = await fetch("v1/models", { headers: unlock() }).catch(() => null);
    if (response?.status === 401) $("key").hidden = false;
    const first = response?.ok ? (await response.json()).models[0] : {};
    offer("accuracy", first.not_sure ? ACCURACIES : []);
    offer("reject", RATES.filter((rate) => rate >= (first.false_alarms_from ?? 1)));
  }

  async function classify(blob) {
    if (!data) return classifyThere(blob);
    let pixels;
    try { pixels = await headstartPixels.decode(blob); } catch (error) {
      throw new Error(error.message.startsWith("too many") ? error.message : "no image that this browser can read");
    }
    return classifyHere(pixels);
  }

  // --- what is shown ---------------------------------------------------------------------------
  function say(answer) {
    if (answer.silence) return answer.silence;
    return answer.labels ? answer.labels.join(", ") || "none" : answer.label;
  }

  function bars(answer) {
    const list = make("ul", "bars");
    for (const [name, share] of answer.top) {
      const row = make("li"), track = make("span", "track"), fill = make("i");
      track.ariaHidden = "true";
      fill.style.width = percent(share);
      track.append(fill);
      row.append(make("span", "class", name), make("span", "share", percent(share)), track);
      list.append(row);
    }
    return list;
  }

  function picture(blob, answer) {
    const figure = make("figure"), image = new Image();
    image.src = URL.createObjectURL(blob);
    image.alt = "";
    figure.append(image);
    if (!answer || (data && !answer.map)) return figure;
    let why = answer.map && lay(answer.map, image, answer.top[0][0]);
    const button = make("button", "small", "Why?");
    button.setAttribute("aria-label", `Why ${answer.top[0][0]}? Show what spoke for it`);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", async () => {
      if (!why) {
        button.disabled = true; // the server takes a moment
        try { why = await explainThere(blob); } catch (error) { return tell(`Why? ${error.message}`); } finally { button.disabled = false; }
        button.focus();
      }
      if (!why.isConnected) button.before(why);
      image.hidden = !image.hidden;
      why.hidden = !image.hidden;
      button.setAttribute("aria-pressed", String(image.hidden));
    });
    figure.append(button);
    return figure;
  }

  // The map over the image in grey, as a canvas.
  function lay(map, image, name) {
    const canvas = make("canvas"), [h, w] = map.image, scale = Math.min(1, 512 / Math.max(h, w));
    [canvas.width, canvas.height] = [Math.max(1, Math.round(w * scale)), Math.max(1, Math.round(h * scale))];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", spoke(name));
    image.addEventListener("load", () => {
      const context = canvas.getContext("2d"), [top, left, rows, columns] = map.seen;
      context.filter = "grayscale(1)";
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
      const input = card.geometry, [ptop, pleft, prows, pcolumns] = map.place;
      context.drawImage(map.canvas, map.side * pleft / input.width, map.side * ptop / input.height,
        map.side * pcolumns / input.width, map.side * prows / input.height,
        left * scale, top * scale, columns * scale, rows * scale);
    });
    return canvas;
  }

  const given = []; // photos and their names: another choice asks of all of them again
  let choice = 0;

  async function add(blob, name, known = false) {
    const row = make("li"), words = make("div"), asked = choice;
    let answer = null, error = "";
    if (!known) given.push([blob, name]);
    try { answer = await classify(blob); } catch (reason) { error = reason.message || String(reason); }
    if (asked !== choice) return; // it is asked again
    answers.push([name, answer ? say(answer) : "", answer?.top[0]?.[1] ?? "", error]);
    words.append(make("div", "name", name));
    if (answer) words.append(make("div", `answer${answer.silence ? " silent" : ""}`, say(answer)), bars(answer));
    else words.append(make("div", "answer silent", `left out: ${error}`));
    row.append(error ? make("span") : picture(blob, answer), words);
    $("rows").append(row);
    $("answers").hidden = $("save").hidden = false;
  }

  async function again() {
    const asked = ++choice;
    answers.length = 0;
    $("rows").replaceChildren();
    for (const [blob, name] of [...given]) {
      if (asked !== choice) return;
      await add(blob, name, true);
    }
    if (given.length) tell(`${given.length} done`);
  }

  async function show(files) {
    let done = 0;
    for (const file of files) {
      tell(`${++done} of ${files.length}`);
      await add(file, file.name || "pasted");
    }
    if (files.length) tell(files.length === 1 ? answers.at(-1)?.map(String).filter((text, at) => text && at !== 2).join(": ") ?? "" : `${files.length} done`);
  }

  // --- the camera --------------------------------------------------------------------------------
  let stream = null;
  function snap() {
    const video = $("video"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    return new Promise((give) => canvas.toBlob(give, "image/png"));
  }
  async function look() {
    let last = null;
    while (stream) {
      const video = $("video");
      if (video.videoWidth) {
        try {
          const answer = data ? await classifyHere(headstartPixels.read(video, video.videoWidth, video.videoHeight))
            : await classify(await snap());
          $("seen").replaceChildren(make("div", "answer", say(answer)), bars(answer));
          if (say(answer) !== last) tell(`Camera: ${last = say(answer)}`); // not each picture is read out
        } catch (error) { $("seen").textContent = error.message; }
      }
      await new Promise((go) => setTimeout(go, CAMERA));
    }
  }
  async function start() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      tell("The camera cannot be used: allow it in the browser, or choose photos.");
      return;
    }
    $("video").srcObject = stream;
    await $("video").play();
    $("live").hidden = false;
    $("camera").hidden = true;
    $("stop").focus();
    look();
  }
  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    $("live").hidden = true;
    $("camera").hidden = false;
    $("camera").focus();
  }

  // --- the page ------------------------------------------------------------------------------------
  function offer(name, shares) {
    const select = $(name), had = select.value;
    select.length = 1;
    for (const share of shares) {
      const option = make("option", "", percent(share));
      option.value = share;
      select.append(option);
    }
    select.value = shares.map(String).includes(had) ? had : "";
    select.closest(".option").hidden = !shares.length;
  }

  function describe() {
    if (!card) return offerThere();
    const names = card.classes.slice(0, 12).join(", ") + (card.classes.length > 12 ? ", ..." : "");
    $("about").textContent = `${card.classes.length} classes: ${names}`;
    const least = card.not_sure ?? {}, [lowest] = card.none_of_these?.rates ?? [1];
    offer("accuracy", ACCURACIES.filter((accuracy) => least[accuracy]?.some((p) => p <= 1)));
    offer("reject", RATES.filter((rate) => rate >= lowest));
    const facts = {
      Classes: card.classes.join(", "), Network: `${card.backbone}, cut at ${(card.cuts ?? []).join(", ")}`,
      Input: card.geometry && `${card.geometry.width} x ${card.geometry.height} pixels, ${card.geometry.resize}`,
      Precision: card.precision,
      Checked: card.parity && `${card.parity.images} files against the classifier it was made of: a probability differs by up to ${card.parity.difference.toExponential(1)}`,
      Browser: card.browser && `${card.browser.name}, ${card.browser.pixels.images} images: differs by up to ${card.browser.pixels.difference.toExponential(1)} on the same pixels, by ${card.browser.files.difference.toExponential(1)} on files as the browser reads them`,
      Origin: card.provenance && `headstart ${card.provenance.headstart ?? ""}, run ${card.provenance.run ?? ""}`,
      Licence: card.licence, Runtime: card.runtime,
    };
    for (const [name, text] of Object.entries(facts)) {
      if (text) $("card").querySelector("dl").append(make("dt", "", name), make("dd", "", text));
    }
  }

  describe();
  $("card").hidden = !card;
  $("verify").hidden = !card?.golden;
  $("verify").addEventListener("click", tellVerified);
  $("server").hidden = Boolean(data);
  $("private").textContent = data ? "Nothing leaves this device: the network runs in this page." : "Photos go to the server that this page came from.";
  $("key").addEventListener("change", offerThere);
  $("key").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["accuracy", "reject"]) $(name).addEventListener("change", again);
  $("files").addEventListener("change", () => show([...$("files").files]).then(() => { $("files").value = ""; }));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("place").classList.toggle("over", kind === "dragover");
      if (kind === "drop") show([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("paste", (event) => show([...event.clipboardData.files]));
  $("camera").addEventListener("click", start);
  $("stop").addEventListener("click", stop);
  $("keep").addEventListener("click", async () => add(await snap(), `camera ${new Date().toLocaleTimeString()}`));
  $("save").addEventListener("click", () => {
    const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
    const lines = [["image", "answer", "probability", "error"], ...answers];
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(quote).join(",")).join("\n") + "\n"], { type: "text/csv" }));
    link.download = "labels.csv";
    link.click();
  });
  if (opened) {
    tell("Getting ready ...");
    opened.then(() => { if ($("told").textContent.startsWith("Getting")) tell("Ready."); },
      (error) => tell(`This browser cannot run the network: ${error.message}`));
  }
  self.headstart = { ready: opened ?? Promise.resolve(), classify, verify: card?.golden && verify, decode: data ? headstartPixels.decode : null };
})();
