// Counts out of vitest's JSON report.

/**
 * A file that could not be loaded has no tests and counts as one failure, and so does a run that failed without naming a test
 * (an unhandled error, say). `status` is vitest's exit status, null where a signal ended it.
 * @param {{ testResults: Array<{ status: string, assertionResults: Array<{ status: string }> }> }} report
 * @param {number | null} status
 */
export function countTests(report, status) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of report.testResults) {
    for (const test of file.assertionResults) {
      if (test.status === 'passed') counts.passed++;
      else if (test.status === 'failed') counts.failed++;
      else counts.skipped++;
    }
    const failedTests = file.assertionResults.some(test => test.status === 'failed');
    if (file.status === 'failed' && !failedTests) counts.failed++;
  }
  if (status !== 0 && counts.failed === 0) counts.failed++;
  return counts;
}
