internal import CFuse3

/// The C library's heap.
package enum NativeMemory {
  /// Gives back to the system what the process has freed (malloc_trim(3)). Takes some milliseconds.
  package static func release() { halite_release_memory() }
}
