// From what a boot came to, to its verdict and the sentence that goes with it.

import type { InitReport } from '../toolstack/init/report-parser.ts';
import { violations } from './assertions.ts';
import type { BootRequest, DomainEnd } from './boot.ts';
import { plural } from './numbers.ts';
import type { BootOptions, Outcome } from './run-boot.ts';
import type { CrashReport, Stage, Verdict } from './verdict.ts';

export interface Evidence {
  readonly request: BootRequest;
  readonly options: BootOptions;
  readonly stages: readonly Stage[];
  readonly report: InitReport;
  readonly bootLine: string | null;
  /** The pattern that was asked for was seen. */
  readonly expected: boolean;
  readonly crash: CrashReport | null;
  readonly panic: string | null;
}

interface Judgement {
  readonly verdict: Verdict;
  readonly reason: string;
}

export function judge(outcome: Outcome, evidence: Evidence): Judgement {
  if (outcome.kind === 'error') return { verdict: 'error', reason: outcome.message };
  const { end, stopped } = outcome;
  if (stopped === 'reached') return reached(evidence);
  if (evidence.panic !== null) return { verdict: 'crash', reason: `kernel panic: ${evidence.panic}` };
  if (end.reason === 'crash') return { verdict: 'crash', reason: crashReason(end, evidence) };
  if (end.reason === 'watchdog') return { verdict: 'crash', reason: "the guest's own watchdog stopped it" };
  const after = `after the stage "${lastStage(evidence)}"`;
  if (stopped === 'timeout') {
    return { verdict: 'timeout', reason: `still running after ${evidence.options.timeoutSeconds} s, ${after}` };
  }
  if (end.reason === 'idle') {
    return { verdict: 'fail', reason: `it hangs ${after}: no CPU waits for anything that could still happen` };
  }
  if (evidence.options.goal.kind === 'end') return { verdict: 'pass', reason: `it ended with "${end.reason}"` };
  if (end.reason !== 'poweroff') return { verdict: 'fail', reason: `it ended with "${end.reason}" ${after}` };
  return evidence.options.goal.kind === 'report'
    ? reported(evidence)
    : { verdict: 'fail', reason: `it powered off ${after}, before ${goalText(evidence)} was seen` };
}

function reached(evidence: Evidence): Judgement {
  return { verdict: 'pass', reason: `${goalText(evidence)} was seen` };
}

function goalText({ options: { goal } }: Evidence): string {
  if (goal.kind === 'report') return "init's report";
  if (goal.kind === 'end') return 'its end';
  return goal.expect === null ? 'output of user space' : `a line that matches ${goal.expect}`;
}

function crashReason(end: DomainEnd, { crash }: Evidence): string {
  const where = crash?.symbol ?? crash?.rip ?? null;
  const why = crash?.panic.length ? crash.reason : (end.crash?.reason ?? 'the kernel reported a crash without a word');
  return where === null ? why : `${why} at ${where}`;
}

function reported(evidence: Evidence): Judgement {
  const { request, report, bootLine } = evidence;
  if (report.protocol === null) {
    const stage = lastStage(evidence);
    return { verdict: 'fail', reason: `it powered off without a word from init, after the stage "${stage}"` };
  }
  const { mode, cpus, image, checked = [] } = request;
  const found = violations(report, { mode, cpus, release: image.release, bootLine, checked });
  if (found.length > 0) return { verdict: 'fail', reason: found.join('; ') };
  return { verdict: 'pass', reason: summary(report) };
}

/** How far the guest came before its end. */
function lastStage({ stages }: Evidence): string {
  return stages.findLast(stage => stage.name !== 'powered off')?.name ?? 'loaded';
}

/** What was seen, for a pass: "Xen PV 4.17.5, 4 CPUs, 498 MiB, 2 devices Connected, powered off". */
function summary(report: InitReport): string {
  const { hypervisor, cpus, memTotalKiB, xenDevices, clocksource, diskChecks, networkChecks, firmwareComplaints } =
    report;
  const complaints = firmwareComplaints?.count ?? 0;
  const parts = [
    hypervisor === null ? 'no hypervisor' : `Xen ${hypervisor.guestType ?? ''} ${hypervisor.version ?? ''}`.trim(),
    plural(cpus.online.length, 'CPU'),
    memTotalKiB === null ? null : `${Math.round(memTotalKiB / 1024)} MiB usable`,
    clocksource === null ? null : `clocksource ${clocksource}`,
    xenDevices.length === 0 ? null : `${plural(xenDevices.length, 'device')} Connected`,
    ...diskChecks.map(({ name }) => `${name} keeps data`),
    ...networkChecks.map(({ name }) => `${name} reaches its gateway`),
    complaints === 0 ? null : plural(complaints, 'complaint about firmware', 'complaints about firmware'),
    'idle when idle',
    'powered off',
  ];
  return parts.filter(part => part !== null).join(', ');
}
