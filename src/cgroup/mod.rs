//! placeholder for the merge
use std::path::PathBuf;
/// View
#[derive(Debug, Clone, Default)]
pub struct View {
    /// v2
    pub v2: bool,
    /// h
    pub hierarchies: Vec<HierarchyView>,
}
/// HV
#[derive(Debug, Clone, Default)]
pub struct HierarchyView {
    /// n
    pub name: String,
    /// d
    pub mount_data: String,
    /// m
    pub mountpoint: PathBuf,
    /// c
    pub container_path: PathBuf,
    /// s
    pub symlinks: Vec<(String, String)>,
}
/// s
pub enum Manager {
    /// n
    None,
}
/// l
pub struct Layout;
impl Layout {
    /// p
    pub fn probe() -> anyhow::Result<Layout> {
        Ok(Layout)
    }
}
/// j
#[derive(Debug, Default)]
pub struct Join {
    /// i
    pub into: Option<std::os::fd::OwnedFd>,
    /// t
    pub tasks: Vec<std::os::fd::OwnedFd>,
}
/// l
#[derive(serde::Serialize, serde::Deserialize, Default)]
pub struct Location;
impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("M")
    }
}
#[allow(missing_docs, unused_variables)]
impl Manager {
    pub fn new(_: &Layout, _: &crate::bundle::plan::CgroupPlan, _: &str) -> anyhow::Result<Manager> {
        Ok(Manager::None)
    }
    pub fn from_location(_: &Location) -> Manager {
        Manager::None
    }
    pub fn location(&self) -> Location {
        Location
    }
    pub fn create(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
    pub fn apply(
        &self,
        r: &crate::bundle::spec::Resources,
        d: &[crate::bundle::plan::DeviceRule],
    ) -> anyhow::Result<()> {
        Ok(())
    }
    pub fn join(&self) -> anyhow::Result<Join> {
        Ok(Join::default())
    }
    pub fn processes(&self) -> anyhow::Result<Vec<i32>> {
        Ok(vec![])
    }
    pub fn kill(&self, s: i32) -> anyhow::Result<()> {
        Ok(())
    }
    pub fn thaw(&self) -> anyhow::Result<()> {
        Ok(())
    }
    pub fn is_frozen(&self) -> anyhow::Result<bool> {
        Ok(false)
    }
    pub fn remove(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
    pub fn oom_kill_count(&self) -> Option<u64> {
        None
    }
    pub fn view(&self) -> View {
        View::default()
    }
}
