// The page of `serve --compare`: plain HTML with its script, nothing from elsewhere. It asks POST /compare and draws
// what comes: two answers, tokens coloured by divergence, candidates on hover, the first difference marked. Served by
// Server, tested in a browser (tests/serve/test_page.py).
#pragma once

#include <string_view>

namespace steelyard::serve {

inline constexpr std::string_view kComparePage = R"page(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Steelyard: side by side</title>
<style>
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { max-width: 75rem; margin: 1.5rem auto; padding: 0 1rem; }
textarea { width: 100%; box-sizing: border-box; font: inherit; }
form > div { display: flex; gap: 1rem; align-items: center; margin: .5rem 0; flex-wrap: wrap; }
#answers { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; }
h2 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: ui-monospace, monospace; line-height: 1.7; }
.token { border-radius: .2em; color: black; }
.token.first { outline: 2px solid #06c; outline-offset: 1px; }
.token.other { text-decoration: underline wavy; }
#candidates { position: fixed; display: none; background: Canvas; border: 1px solid; padding: .5rem; font-size: .85rem; z-index: 1; }
#candidates td, #candidates th { padding: 0 .6rem 0 0; text-align: left; font-family: ui-monospace, monospace; white-space: pre; }
.scale { display: inline-block; width: 8rem; height: .8rem; background: linear-gradient(to right, hsl(120 60% 85%), hsl(60 80% 75%), hsl(0 85% 70%)); }
#error { color: #c00; }
</style>
<h1>Side by side</h1>
<form id="form">
<textarea id="prompt" rows="4" required placeholder="A prompt for both"></textarea>
<div>
<label><input type="checkbox" id="chat"> as a message of a chat</label>
<label>tokens <input type="number" id="n" min="1" max="256" value="64"></label>
<button>Answer</button>
<span>divergence 0 <span class="scale"></span> 1 nat and more</span>
</div>
</form>
<p id="error" role="alert"></p>
<p id="summary"></p>
<div id="answers"></div>
<div id="candidates"></div>
<script>
'use strict';
const at = id => document.getElementById(id);
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
const colour = kl => {
  const x = Math.min(1, Math.sqrt(kl));
  return `hsl(${120 - 120 * x} ${60 + 25 * x}% ${85 - 15 * x}%)`;
};
const shown = text => JSON.stringify(text).slice(1, -1);
const percent = share => (100 * share).toFixed(1) + ' %';

function showCandidates(event, token, names) {
  const table = make('table'), head = make('tr');
  for (const name of names) head.append(make('th', name), make('th', ''));
  table.append(head);
  for (let i = 0; i < token.top[0].length; ++i) {
    const row = make('tr');
    for (const which of [0, 1]) {
      const one = token.top[which][i];
      row.append(make('td', shown(one.token)), make('td', percent(Math.exp(one.logprob))));
    }
    table.append(row);
  }
  const box = at('candidates');
  box.replaceChildren(make('div', `divergence ${token.divergence.toFixed(4)} nats`), table);
  box.style.display = 'block';
  const place = event.target.getBoundingClientRect();
  box.style.left = Math.max(0, Math.min(place.left, innerWidth - box.offsetWidth - 10)) + 'px';
  box.style.top = (place.bottom + box.offsetHeight + 5 > innerHeight ? place.top - box.offsetHeight - 5 : place.bottom + 5) + 'px';
}

function draw(result) {
  const difference = result.first_difference;
  at('summary').textContent = (difference === null ? 'The answers are the same.' : `The answers differ from token ${difference + 1} on.`) +
    ' ' + result.answers.map((answer, i) => `${result.models[i]}: the likeliest token is the same at ${percent(answer.agreement)} of the positions, mean divergence ${answer.divergence.toFixed(4)} nats.`).join(' ');
  at('answers').replaceChildren(...result.answers.map((answer, i) => {
    const column = make('section'), text = make('div', undefined, 'text');
    column.append(make('h2', result.models[i]), text);
    answer.tokens.forEach((token, t) => {
      const span = make('span', token.text, 'token');
      span.style.background = colour(token.divergence);
      span.dataset.divergence = token.divergence;
      if (t === difference) span.classList.add('first');
      if (token.top[0][0].id !== token.top[1][0].id) span.classList.add('other');
      span.tabIndex = 0;
      for (const event of ['mouseenter', 'focus']) span.addEventListener(event, e => showCandidates(e, token, result.models));
      for (const event of ['mouseleave', 'blur']) span.addEventListener(event, () => { at('candidates').style.display = 'none'; });
      text.append(span);
    });
    return column;
  }));
}

at('form').addEventListener('submit', async event => {
  event.preventDefault();
  const button = event.target.querySelector('button');
  button.disabled = true;
  at('error').textContent = '';
  try {
    const asked = {max_tokens: Number(at('n').value)};
    if (at('chat').checked) asked.messages = [{role: 'user', content: at('prompt').value}];
    else asked.prompt = at('prompt').value;
    const response = await fetch('compare', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(asked)});
    const result = await response.json();
    if (response.ok) draw(result);
    else at('error').textContent = result.error.message;
  } catch (error) {
    at('error').textContent = String(error);
  }
  button.disabled = false;
});

// A link may have the prompt: #The%20king
if (location.hash.length > 1) {
  at('prompt').value = decodeURIComponent(location.hash.slice(1));
  at('form').requestSubmit();
}
</script>
</html>
)page";

}  // namespace steelyard::serve
