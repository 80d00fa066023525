/**
 * Writes `docs/reference.md`: what each program and each of its commands takes, as its parser
 * tells it by `--help`.
 *
 * ```sh
 * deno task reference
 * ```
 *
 * @module
 */

const ROOT = new URL("../", import.meta.url);

/** Where it is written. */
export const OUTPUT = new URL("docs/reference.md", ROOT);

/** The programs, by their modules. */
const PROGRAMS = ["cli/broker", "cli/echo", "cli/mdp"];

const HEAD = `# Reference

What \`--help\` says of each program and command; \`deno task reference\` writes this page.
`;

/**
 * Makes the page.
 *
 * @returns Its Markdown.
 */
export async function reference(): Promise<string> {
  const sections = await Promise.all(PROGRAMS.map(program));
  return await formatted([HEAD, ...sections].join("\n"));
}

/** As `deno fmt` wants the documents. */
async function formatted(markdown: string): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", "--ext=md", "-"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(markdown));
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}

async function program(module: string): Promise<string> {
  const main = await help(module);
  const commands = commandsOf(main);
  const helps = await Promise.all(commands.map((command) => help(module, command)));
  const name = nameOf(main);
  return [
    `## ${name}\n`,
    await moduleDoc(module),
    block(main),
    ...helps.map((text, at) => `### ${name} ${commands[at]}\n\n${block(text)}`),
  ].join("\n");
}

/** What a program prints when it is asked for help. */
async function help(module: string, ...command: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", `${module}.ts`, ...command, "--help"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).split("\n").map((line) => line.trimEnd()).join("\n");
}

function nameOf(help: string): string {
  return /^Usage: (\S+)/m.exec(help)![1]!;
}

/** The commands are what its first list has before the options. */
function commandsOf(help: string): string[] {
  const [, list] = help.split("\n\n");
  return Array.from(list!.matchAll(/^ {2}([a-z][a-z-]*) {2,}/gm), ([, command]) => command!);
}

/** What a program's module says of itself, without its example, whose place the help takes. */
async function moduleDoc(module: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(`${module}.ts`, ROOT));
  const [, comment] = /^\/\*\*\n([\s\S]*?) \*\/$/m.exec(text)!;
  return comment!.replace(/^ \* ?/gm, "").replace(/\s*@module\s*$/, "\n");
}

function block(text: string): string {
  return `\`\`\`text\n${text.trim()}\n\`\`\`\n`;
}

if (import.meta.main) {
  await Deno.writeTextFile(OUTPUT, await reference());
  console.log(decodeURIComponent(OUTPUT.pathname));
}
