//! The oxrun binary: everything is in the library, where tests and fuzz targets reach it too.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;

#[global_allocator]
static MEMORY: oxrun::Memory = oxrun::Memory;
