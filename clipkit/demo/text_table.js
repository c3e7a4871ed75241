// A table of texts, set as text. Its value: a title, headings and rows.
function show() {
  const made = props.value;
  const table = element.querySelector("table");
  element.querySelector("h2").textContent = made ? made.title : "";
  table.replaceChildren();
  if (made && made.headings.length) table.append(line(made.headings, "th"));
  if (made) table.append(...made.rows.map((row) => line(row, "td")));
}

function line(cells, tag) {
  const row = document.createElement("tr");
  for (const cell of cells) {
    const made = document.createElement(tag);
    made.textContent = cell;
    row.append(made);
  }
  return row;
}

watch("value", show);
show();
