#ifndef LOWBIT_BASE_INTERRUPT_H_
#define LOWBIT_BASE_INTERRUPT_H_

#include "absl/status/status.h"

namespace lowbit {

// From now on the first SIGINT or SIGTERM only sets a flag, which long work asks for at its safe points; a second one
// ends the process at once. A signal that was ignored when the process started (nohup, a background job) stays ignored.
// Also ignores SIGXFSZ: a write beyond the file size limit becomes an error of that write instead of a sudden death.
void InstallInterruptHandler();

// Whether an interrupt was asked for.
bool Interrupted();

// Cancelled("interrupted") if an interrupt was asked for, else OK. Cheap: loops may call it for every batch.
absl::Status CheckInterrupt();

// Sets and clears the flag without a signal.
void RequestInterruptForTest();
void ClearInterrupt();

}  // namespace lowbit

#endif  // LOWBIT_BASE_INTERRUPT_H_
