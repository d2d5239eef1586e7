internal import CFuse3

/// The C library's heap.
package enum NativeMemory {
  /// Lets threads share two of the C library's arenas (mallopt(3)) instead of having one each, up to eight a
  /// processor: what one thread has freed no other would get. To be called before there are many threads.
  package static func shareArenas() { halite_limit_arenas(2) }

  /// Gives back to the system what the process has freed (malloc_trim(3)). Takes some milliseconds.
  package static func release() { halite_release_memory() }
}
