#ifndef LOWBIT_BASE_KEEP_FREED_MEMORY_H_
#define LOWBIT_BASE_KEEP_FREED_MEMORY_H_

namespace lowbit {

// For the start of a program that has LibTorch compute. It asks for tensors of the same sizes again and again, and
// glibc would get each large one from the system and give it back; on a virtual machine a fifth of the time of
// learning, and more of that of a forward pass, went into that. From now on what is freed stays at hand, until the end
// of glibc's heap is free for more than 1 GiB. Blocks above 32 MiB are given back as before.
void KeepFreedMemory();

}  // namespace lowbit

#endif  // LOWBIT_BASE_KEEP_FREED_MEMORY_H_
