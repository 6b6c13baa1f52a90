//! The allocator of the binary: blocks of powers of two, cut from chunks that are mapped as they are
//! needed, and kept in a list per size when they are freed. A command lives for milliseconds and allocates
//! little, so what matters is that it needs few system calls and page faults, and that init can name all
//! memory there is and let go of it (`leave`). Declared by the binary alone; the process has one thread.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::io::Write;
use std::ptr::{null_mut, without_provenance_mut};

/// Bytes of the first chunk: what most commands need; its pages are there from the start.
const FIRST: usize = 64 << 10;
/// Bytes of each later one.
const LATER: usize = 128 << 10;
/// Blocks have 16, 32, … bytes, the last size included; larger ones are mappings of their own.
const SMALLEST: usize = 16;
const LARGEST: usize = 32 << 10;
const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;
/// How many chunks are remembered for `chunks`: 16 MiB of small blocks.
const REMEMBERED: usize = 128;
const PAGE: usize = 4096;

/// The allocator.
#[derive(Debug)]
pub struct Memory;

/// All there is. Only the binary allocates from it.
static HEAP: Shared = Shared(UnsafeCell::new(Heap::new()));

struct Shared(UnsafeCell<Heap>);

// SAFETY: the process has one thread (no thread is made anywhere, see R24).
unsafe impl Sync for Shared {}

#[derive(Debug)]
struct Heap {
    /// What is left of the chunk in use.
    next: usize,
    end: usize,
    /// Free blocks of each size; the first word of each leads to the next.
    free: [usize; SIZES],
    /// Start and length of the chunks.
    chunks: [(usize, usize); REMEMBERED],
    count: usize,
}

/// Start and length of the mappings that small blocks are cut from.
pub fn chunks() -> Vec<(usize, usize)> {
    // Allocated first, as it may bring another one.
    let mut found = Vec::with_capacity(REMEMBERED);
    let heap = heap();
    found.extend_from_slice(heap.chunks.get(..heap.count).unwrap_or_default());
    found
}

fn heap() -> &'static mut Heap {
    // SAFETY: one thread, and who has it calls nothing that allocates.
    unsafe { &mut *HEAP.0.get() }
}

/// Bytes of the block for a request, and the index of its size.
fn block(bytes: usize) -> (usize, usize) {
    let size = bytes.next_power_of_two().max(SMALLEST);
    (size, (size / SMALLEST).ilog2() as usize)
}

/// Whether a request gets a mapping of its own. No alignment above a block's size is asked for here.
fn is_large(layout: Layout) -> bool {
    layout.size().max(layout.align()) > LARGEST
}

fn map(bytes: usize, flags: i32) -> usize {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh anonymous mapping.
    let place = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if place == libc::MAP_FAILED { 0 } else { place as usize }
}

fn pages(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE)
}

/// Without memory for a small block nothing can go on: what the library would say, in the same words, but
/// never with a backtrace.
fn no_memory(bytes: usize) -> ! {
    let mut text = [0u8; 64];
    let mut rest = text.as_mut_slice();
    let _ = writeln!(rest, "memory allocation of {bytes} bytes failed");
    let left = rest.len();
    let length = text.len() - left;
    // SAFETY: the text is that long; the process ends here.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), length);
        libc::abort()
    }
}

impl Heap {
    const fn new() -> Heap {
        Heap { next: 0, end: 0, free: [0; SIZES], chunks: [(0, 0); REMEMBERED], count: 0 }
    }

    fn take(&mut self, layout: Layout) -> usize {
        let (size, index) = block(layout.size().max(layout.align()));
        if self.free[index] != 0 {
            let place = self.free[index];
            // SAFETY: the first word of a free block leads to the next one.
            self.free[index] = unsafe { *(place as *const usize) };
            return place;
        }
        // Blocks are aligned to their size, as chunks are to more than the largest of them needs.
        let mut place = self.next.next_multiple_of(size);
        if self.end < place + size {
            self.grow();
            place = self.next.next_multiple_of(size);
            if self.end < place + size {
                return 0;
            }
        }
        self.next = place + size;
        place
    }

    fn grow(&mut self) {
        let (bytes, flags) = if self.count == 0 { (FIRST, libc::MAP_POPULATE) } else { (LATER, 0) };
        let place = map(bytes, flags);
        if place == 0 {
            return;
        }
        if let Some(slot) = self.chunks.get_mut(self.count) {
            *slot = (place, bytes);
            self.count += 1;
        }
        (self.next, self.end) = (place, place + bytes);
    }
}

// SAFETY: blocks do not overlap: each is cut from a chunk once, or given back by `dealloc`; sizes are
// those of the layout, so both calls agree; mappings are aligned to pages.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let place = match is_large(layout) {
            true if layout.align() > PAGE => 0,
            true => map(pages(layout.size()), 0),
            false => match heap().take(layout) {
                0 => no_memory(layout.size()),
                place => place,
            },
        };
        without_provenance_mut(place)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: this mapping was made by `alloc` for the same layout.
            unsafe { libc::munmap(place.cast(), pages(layout.size())) };
            return;
        }
        let (_, index) = block(layout.size().max(layout.align()));
        let heap = heap();
        // SAFETY: the block is free from now on, and at least a word long.
        unsafe { *place.cast::<usize>() = heap.free[index] };
        heap.free[index] = place as usize;
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as `alloc`; a block has the layout's size.
        unsafe {
            let place = self.alloc(layout);
            // A fresh mapping is zero already.
            if !place.is_null() && !is_large(layout) {
                place.write_bytes(0, layout.size());
            }
            place
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the new size is not zero and does not overflow, says the caller.
        let new = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        match (is_large(layout), is_large(new)) {
            (false, false)
                if block(layout.size().max(layout.align())) == block(bytes.max(layout.align())) =>
            {
                return place;
            }
            (true, true) => {
                // SAFETY: the mapping is this block alone.
                let moved = unsafe {
                    libc::mremap(place.cast(), pages(layout.size()), pages(bytes), libc::MREMAP_MAYMOVE)
                };
                return if moved == libc::MAP_FAILED { null_mut() } else { moved.cast() };
            }
            _ => {}
        }
        // SAFETY: two blocks, the common part is copied, the old one is freed with its layout.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                to.copy_from_nonoverlapping(place, layout.size().min(bytes));
                self.dealloc(place, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Fills a block with a byte, and says whether it still holds it.
    fn fill(place: *mut u8, size: usize, byte: u8) {
        // SAFETY: the block is that long.
        unsafe { place.write_bytes(byte, size) };
    }

    fn holds(place: *const u8, size: usize, byte: u8) -> bool {
        // SAFETY: the block is that long, and written to.
        unsafe { std::slice::from_raw_parts(place, size) }.iter().all(|b| *b == byte)
    }

    /// One test, as the memory is for one thread.
    #[test]
    fn blocks_are_what_they_should_be() {
        blocks_are_apart_aligned_and_used_again();
        growing_keeps_what_is_there();
    }

    fn blocks_are_apart_aligned_and_used_again() {
        let memory = Memory;
        let sizes = [1, 16, 17, 100, 4096, 5000, LARGEST, LARGEST + 1, 1 << 20];
        let blocks: Vec<(*mut u8, Layout)> = (0..20)
            .flat_map(|_| sizes)
            .map(|size| {
                let layout = layout(size, if size % 64 == 0 { 64 } else { 8 });
                // SAFETY: the size is not zero.
                (unsafe { memory.alloc(layout) }, layout)
            })
            .collect();
        for (number, (place, layout)) in blocks.iter().enumerate() {
            assert!(!place.is_null() && place.is_aligned_to_bytes(layout.align()));
            fill(*place, layout.size(), number as u8);
        }
        for (number, (place, layout)) in blocks.iter().enumerate() {
            assert!(holds(*place, layout.size(), number as u8));
            // SAFETY: allocated with this layout, and not used any more.
            unsafe { memory.dealloc(*place, *layout) };
        }
        let (next, count) = (heap().next, heap().count);
        for (_, layout) in &blocks {
            // SAFETY: the size is not zero.
            let again = unsafe { memory.alloc_zeroed(*layout) };
            assert!(holds(again, layout.size(), 0));
        }
        assert_eq!((heap().next, heap().count), (next, count));
    }

    fn growing_keeps_what_is_there() {
        let memory = Memory;
        let mut size = 8;
        // SAFETY: the size is not zero.
        let mut place = unsafe { memory.alloc(layout(size, 8)) };
        fill(place, size, 7);
        for bytes in [15, 40, 4000, LARGEST, LARGEST + 1, 1 << 20, 1 << 21, 300, 8] {
            // SAFETY: allocated with this layout.
            place = unsafe { memory.realloc(place, layout(size, 8), bytes) };
            assert!(holds(place, size.min(bytes).min(8), 7));
            size = bytes;
        }
        let odd = layout(64 << 10, 64 << 10);
        // SAFETY: the size is not zero.
        assert!(unsafe { memory.alloc(odd) }.is_null(), "alignments above a page are nobody's");
    }

    trait Aligned {
        fn is_aligned_to_bytes(&self, align: usize) -> bool;
    }

    impl Aligned for *mut u8 {
        fn is_aligned_to_bytes(&self, align: usize) -> bool {
            (*self as usize).is_multiple_of(align)
        }
    }
}
