/**
 * What Linux tells of a process and of those that it has started.
 *
 * @module
 */

/** Ticks a second in /proc/PID/stat: fixed for user space on all of Linux's platforms. */
const TICKS = 100;

/** What processes have used and hold, summed up. */
export interface Usage {
  /** CPU time since their start, in s; steps of 10 ms. */
  cpu: number;
  /** Resident memory, in bytes. */
  rss: number;
}

/**
 * Sums up a process and all below it: a broker's command may be a script that starts the broker.
 *
 * @param pid The process.
 * @returns What they use; zeros if it is gone.
 */
export function usage(pid: number): Usage {
  const total: Usage = { cpu: 0, rss: 0 };
  for (const each of family(pid)) {
    const fields = afterName(text(`/proc/${each}/stat`));
    // utime and stime, and those of the children that it has seen end, with theirs.
    for (const field of fields.slice(11, 15)) total.cpu += Number(field) / TICKS;
    total.rss += 1_024 * Number(/^VmRSS:\s+(\d+)/m.exec(text(`/proc/${each}/status`))?.[1] ?? 0);
  }
  return total;
}

/** How often a thread has slept and been woken, and for how long it ran. */
export interface Wakes {
  /** How often it gave the CPU up to wait for something, and so was woken later. */
  count: number;
  /** CPU time in s, in steps of 1 ns. */
  cpu: number;
}

/**
 * What the threads of a process and of all below it have done.
 *
 * @param pid The process.
 * @returns Each by the number of its thread.
 */
export function wakes(pid: number): Map<string, Wakes> {
  const threads = new Map<string, Wakes>();
  for (const each of family(pid)) {
    for (const task of entries(`/proc/${each}/task`)) {
      const folder = `/proc/${each}/task/${task}`;
      const switches = /^voluntary_ctxt_switches:\s+(\d+)/m.exec(text(`${folder}/status`))?.[1];
      threads.set(task, {
        count: Number(switches ?? 0),
        cpu: Number(text(`${folder}/schedstat`).split(" ")[0] ?? 0) / 1e9,
      });
    }
  }
  return threads;
}

/**
 * What was done between two readings.
 *
 * @returns The sum over the threads that there still are: of one that has ended nothing is known.
 */
export function wakesBetween(before: Map<string, Wakes>, after: Map<string, Wakes>): Wakes {
  const total: Wakes = { count: 0, cpu: 0 };
  for (const [task, { count, cpu }] of after) {
    total.count += count - (before.get(task)?.count ?? 0);
    total.cpu += cpu - (before.get(task)?.cpu ?? 0);
  }
  return total;
}

/** A process and all below it. */
export function family(pid: number): number[] {
  const found = [pid];
  for (const task of entries(`/proc/${pid}/task`)) {
    for (const child of text(`/proc/${pid}/task/${task}/children`).split(" ")) {
      if (child !== "") found.push(...family(Number(child)));
    }
  }
  return found;
}

/** The fields of /proc/PID/stat after the name, which may have spaces and parentheses in it. */
function afterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function text(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    // The process has ended.
    return "";
  }
}

function entries(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch {
    return [];
  }
}
