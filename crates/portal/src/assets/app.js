// Replaces what changed on the page, as the server draws it. Without this script the page reloads.
"use strict";

const badge = document.getElementById("status");

function say(status, words) {
  badge.dataset.status = status;
  badge.textContent = words;
}

// Makes `here` look like `there`, touching only what differs: what is selected stays selected.
function mend(here, there) {
  if (here.nodeType !== there.nodeType || here.nodeName !== there.nodeName) {
    here.replaceWith(there.cloneNode(true));
    return;
  }
  if (here.nodeType === Node.TEXT_NODE) {
    if (here.data !== there.data) here.data = there.data;
    return;
  }
  for (const { name } of [...here.attributes]) {
    if (!there.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of there.attributes) {
    if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  const [old, young] = [[...here.childNodes], [...there.childNodes]];
  young.forEach((child, i) => {
    if (i < old.length) mend(old[i], child);
    else here.append(child.cloneNode(true));
  });
  old.slice(young.length).forEach((child) => child.remove());
}

function show(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  for (const section of next.querySelectorAll("[data-live]")) {
    const here = document.getElementById(section.id);
    if (here && !here.isEqualNode(section)) mend(here, section);
  }
}

const source = new EventSource("/live");
source.addEventListener("page", (event) => {
  show(JSON.parse(event.data));
  say("live", "live");
});
source.addEventListener("open", () => say("live", "live"));
source.addEventListener("error", () => say("lost", "reconnecting…"));
