"use strict";
// Starts the language server and leaves the rest to it.
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = async function () {
  const [command, ...args] = vscode.workspace.getConfiguration("robspec").get("command");
  const run = { command, args };
  const options = { documentSelector: [{ language: "rspec" }] };
  client = new LanguageClient("robspec", "robspec", { run, debug: run }, options);
  await client.start();
};

exports.deactivate = function () {
  return client && client.stop();
};
