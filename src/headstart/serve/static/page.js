"use strict";
const [place, files, key, told, save, rows] =
  ["place", "files", "key", "told", "save", "rows"].map((id) => document.getElementById(id));
const answers = [];

function cell(row, text) {
  const made = row.insertCell();
  made.textContent = text;
  return made;
}

async function classify(file) {
  const key_ = key.value ? { authorization: `Bearer ${key.value}` } : {};
  const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
  for (;;) {
    const response = await fetch("v1/predict", {
      method: "POST", body: file, headers: { "content-type": type, ...key_ },
    });
    if (response.status === 503) {
      await new Promise((go) => setTimeout(go, 1000 * (response.headers.get("retry-after") || 1)));
      continue;
    }
    const found = await response.json();
    return found.predictions ? found.predictions[0] : { error: found.error };
  }
}

async function show(list) {
  let done = 0;
  for (const file of list) {
    told.textContent = `${++done} of ${list.length}`;
    let answer;
    try { answer = await classify(file); } catch { answer = { error: "the server cannot be reached" }; }
    answers.push([file.name, answer.label ?? "", answer.probability ?? "", answer.error ?? ""]);
    const row = rows.insertRow();
    const first = cell(row, "");
    const picture = new Image();
    picture.alt = "";
    picture.src = URL.createObjectURL(file);
    first.append(picture, file.name);
    cell(row, answer.error ? `left out: ${answer.error}` : answer.label ?? answer.answer);
    cell(row, answer.probability == null ? "" : `${(100 * answer.probability).toFixed(1)}%`);
  }
  told.textContent = `${list.length} done`;
  save.disabled = answers.length === 0;
}

files.addEventListener("change", () => show([...files.files]));
place.addEventListener("dragover", (event) => { event.preventDefault(); place.classList.add("over"); });
place.addEventListener("dragleave", () => place.classList.remove("over"));
place.addEventListener("drop", (event) => {
  event.preventDefault();
  place.classList.remove("over");
  show([...event.dataTransfer.files]);
});
save.addEventListener("click", () => {
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [["image", "label", "probability", "error"], ...answers];
  const text = lines.map((line) => line.map(quote).join(",")).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
});
