#ifndef HALITE_CFUZZER_H
#define HALITE_CFUZZER_H

#include <stddef.h>
#include <stdint.h>

/// libFuzzer's driver (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library"): parses its
/// own options and calls `run` with one input after the other. Returns when its time is over.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *data, size_t size));

#endif
