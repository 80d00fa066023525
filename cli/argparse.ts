/**
 * Command lines as Python's argparse takes them, for the programs that majortomo has, too.
 *
 * @module
 */

import type { Usage, UsageTerm } from "@optique/core/usage";

/**
 * Spells out what argparse takes beyond what is taken here: a long option may be cut short where
 * that leaves no doubt, and a value may stand right behind a short one.
 *
 * @param args The arguments.
 * @param usage What the program takes.
 * @param python The long options that its counterpart in Python has. Those alone can be cut short,
 * so that no other puts in doubt what is none there.
 * @returns The same, spelled out.
 */
export function spellOut(
  args: readonly string[],
  usage: Usage,
  python: readonly string[],
): string[] {
  const known = new Set<string>(), valued = new Set<string>();
  for (const { names, metavar } of optionsIn(usage)) {
    for (const name of names) {
      known.add(name);
      if (metavar !== undefined) valued.add(name);
    }
  }
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    let arg = args[i]!;
    // What is behind is no option, or half of one that is to be completed.
    if (/^--(completion(=.*)?)?$/s.test(arg)) return [...result, ...args.slice(i)];
    const [, name = "", rest] = /^(--[a-z_-]+)(=.*)?$/s.exec(arg) ?? [];
    if (name !== "" && !known.has(name)) {
      const [only, other] = python.filter((each) => each.startsWith(name));
      if (only !== undefined && other === undefined) arg = only + (rest ?? "");
    }
    const short = arg.slice(0, 2);
    // A long name behind one dash is a slip, and told as such.
    if (valued.has(short) && arg.length > 2 && !known.has(`-${arg}`)) {
      result.push(short, arg.slice(2).replace(/^=/, ""));
      continue;
    }
    result.push(arg);
    // Its value, whatever that looks like.
    if (valued.has(arg) && i + 1 < args.length) result.push(args[++i]!);
  }
  return result;
}

function* optionsIn(usage: Usage): Generator<UsageTerm & { type: "option" }> {
  for (const term of usage) {
    if (term.type === "option") yield term;
    else if (term.type === "exclusive") { for (const each of term.terms) yield* optionsIn(each); }
    else if ("terms" in term) yield* optionsIn(term.terms);
  }
}
