internal import CFuse3

/// The C library's heap.
package enum NativeMemory {
  /// Lets threads share the C library's arenas (mallopt(3)), one for each processor, where they would have eight:
  /// what is free in one is of no use to threads of another. To be called before there are many threads.
  package static func shareArenas() { halite_limit_arenas() }

  /// Gives back to the system what the process has freed (malloc_trim(3)). Takes some milliseconds.
  package static func release() { halite_release_memory() }
}
