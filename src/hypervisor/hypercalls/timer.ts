// set_timer_op (15): one timer a vCPU, older than vcpu_op's and the same as its singleshot timer.
import type { Handler } from './copy.ts';

export const setTimerOp: Handler = (vcpu, args) => {
  // 32-bit guests pass the 64 bits in two registers.
  const timeout = vcpu.abiWidth === 32 ? (args[0] & 0xffffffffn) | ((args[1] & 0xffffffffn) << 32n) : args[0];
  vcpu.time.setTimerOp(BigInt.asIntN(64, timeout));
};
