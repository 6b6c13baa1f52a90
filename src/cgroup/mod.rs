//! placeholder for the merge
use std::path::PathBuf;
/// View
#[derive(Debug, Clone, Default)]
pub struct View { /// v2
 pub v2: bool, /// h
 pub hierarchies: Vec<HierarchyView> }
/// HV
#[derive(Debug, Clone, Default)]
pub struct HierarchyView { /// n
 pub name: String, /// d
 pub mount_data: String, /// m
 pub mountpoint: PathBuf, /// c
 pub container_path: PathBuf, /// s
 pub symlinks: Vec<(String, String)> }
