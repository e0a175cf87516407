// What the pages need beside htmx: the reader's own time zone, a word when the server is silent, calm while somebody reads,
// and logs that follow their end. No page needs a script to be read.
"use strict";

(() => {
  const two = (number) => String(number).padStart(2, "0");

  // Times come in UTC and are shown in the reader's time zone; UTC stays in the title.
  function showLocalTimes(root) {
    for (const element of root.querySelectorAll("time[datetime]:not([title])")) {
      const moment = new Date(element.dateTime);
      const clock = `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
      const millis = `.${String(moment.getMilliseconds()).padStart(3, "0")}`;
      const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
      element.title = element.dataset.clock === undefined ? element.textContent : element.dateTime;
      element.textContent = element.dataset.clock === undefined ? `${day} ${clock}` : `${day} ${clock}${millis}`;
    }
  }

  // The server's silence. Polling goes on by itself; a session that has ended is told by the page.
  const silent = document.getElementById("silent");
  document.addEventListener("htmx:sendError", () => { silent.hidden = false; });
  document.addEventListener("htmx:timeout", () => { silent.hidden = false; });
  document.addEventListener("htmx:beforeOnLoad", () => { silent.hidden = true; });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    if (status === 401 || status === 404) location.reload();
    else if (status >= 500) silent.hidden = false;
  });

  // A hidden page asks for nothing.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });

  // A part is not replaced under a pressed pointer or while text in it is selected (what follows comes soon), nor by its like.
  let pressed = null;
  document.addEventListener("pointerdown", (event) => { pressed = event.target; });
  for (const end of ["pointerup", "pointercancel"]) {
    // The click comes after pointerup.
    document.addEventListener(end, () => setTimeout(() => { pressed = null; }, 0));
  }
  const isSelectedIn = (element) => {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  };
  const isHeld = (element) => element !== null && (element.contains(pressed) || isSelectedIn(element));
  let shown = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr, requestConfig } = event.detail;
    if (lines !== null && lines.contains(target)) return;
    const same = xhr.status === 200 && shown === `${requestConfig.path}\n${xhr.responseText}`;
    if (same || isHeld(target) || isHeld(document.getElementById("job-head"))) event.detail.shouldSwap = false;
    else shown = `${requestConfig.path}\n${xhr.responseText}`;
  });
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if (target.isEqualNode(fragment.firstElementChild)) event.detail.shouldSwap = false;
  });

  // A log stays at its end if the reader is there, and lets go of its oldest lines, which stay within reach; earlier lines
  // come above what is being read.
  let lines = null;
  let following = null;
  let atEnd = true;
  let before = null;

  const toEnd = () => { lines.scrollTop = lines.scrollHeight; };

  function adoptLog() {
    const found = document.getElementById("lines");
    if (found === null || found === lines) return;
    lines = found;
    following = document.getElementById("following");
    lines.addEventListener("scroll", () => {
      atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
      if (following !== null) following.hidden = !atEnd;
    }, { passive: true });
    document.getElementById("newest")?.addEventListener("click", toEnd);
    if (lines.dataset.from === "end") toEnd();
  }

  function letGo() {
    const batches = lines.querySelectorAll(".batch");
    const first = batches[batches.length - Number(lines.dataset.keep)];
    if (first === undefined || !first.dataset.before) return;
    while (lines.firstElementChild !== first) lines.firstElementChild.remove();
    const edge = document.createElement("div");
    edge.className = "edge";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = "Earlier lines";
    button.setAttribute("hx-get", first.dataset.before);
    button.setAttribute("hx-target", "closest .edge");
    button.setAttribute("hx-swap", "outerHTML");
    edge.append(button);
    lines.prepend(edge);
    htmx.process(edge);
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (lines === null || !lines.contains(target)) return;
    if (target.id === "tail" && isSelectedIn(lines)) event.detail.shouldSwap = false;
    else before = { height: lines.scrollHeight, top: lines.scrollTop, follows: target.id === "tail", atEnd };
  });
  // Not htmx:afterSwap: that is told of each new element, and the last answer has none.
  document.addEventListener("htmx:afterRequest", () => {
    if (before === null) return;
    const was = before;
    before = null;
    if (!was.follows) {
      lines.scrollTop = was.top + lines.scrollHeight - was.height;
    } else if (was.atEnd) {
      letGo();
      toEnd();
    }
    if (following !== null && document.getElementById("tail") === null) following.textContent = "The log has ended";
  });

  showLocalTimes(document);
  adoptLog();
  document.addEventListener("htmx:load", (event) => {
    showLocalTimes(event.detail.elt.parentElement ?? document);
    adoptLog();
  });
})();
