//! seccomp: which system calls a process may make.
//!
//! The list names what no process of the node needs after its start and what would lead out of a sandbox: other programs,
//! other processes, new kernel interfaces, sockets of other families. Everything else stays allowed, because the libraries
//! decide which of the plain calls they use. A refused call fails with EPERM, so that a library can fall back.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::profile::{Network, Profile};

/// Refused to everyone.
#[rustfmt::skip] // One group for each line.
const NEVER: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_process_madvise,
    libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_tkill,
    // Files by their path: before its third version Landlock lets pass who empties one. Programs shorten what they have open.
    libc::SYS_truncate,
    // Interfaces with a history of holes.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl, libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at, libc::SYS_personality, libc::SYS_quotactl, libc::SYS_acct, libc::SYS_syslog,
    // The machine.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig,
    libc::SYS_fsmount, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare,
    libc::SYS_setns, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_reboot, libc::SYS_kexec_load, libc::SYS_init_module,
    libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_mknodat,
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex, libc::SYS_vhangup,
];

/// The same, where they exist on this kind of processor only.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[libc::c_long] = &[];

/// Calls that start a program or a process.
const CHILDREN: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];
#[cfg(target_arch = "x86_64")]
const CHILDREN_HERE: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const CHILDREN_HERE: &[libc::c_long] = &[];

/// The second table of calls of x86-64 ("x32") reaches the same kernel functions under other numbers: the common ones with this
/// bit, some under numbers of their own.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_OWN: &[libc::c_long] = &[520, 521, 522, 524, 528, 536, 539, 540, 545];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters for a profile, ready to be applied in this order.
///
/// # Errors
/// When there is no seccomp for this kind of processor.
pub(super) fn filters(profile: &Profile) -> Result<Vec<BpfProgram>, BackendError> {
    let mut rules = Rules::new();
    for call in NEVER.iter().chain(NEVER_HERE) {
        rules.insert(*call, Vec::new());
    }
    // Code is mapped, never generated: the compiler is a process of its own, and that one does not run what it makes.
    let both = (libc::PROT_WRITE | libc::PROT_EXEC).unsigned_abs().into();
    for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        when(&mut rules, call, vec![argument(2, SeccompCmpOp::MaskedEq(both), both)?])?;
    }
    // Signals go to this process alone.
    let own = std::process::id().into();
    for call in [
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
    ] {
        if profile.runs.is_empty() {
            when(&mut rules, call, vec![argument(0, SeccompCmpOp::Ne, own)?])?;
        }
    }
    sockets(profile, &mut rules)?;
    let mut unknown = Rules::new();
    if profile.runs.is_empty() {
        for call in CHILDREN.iter().chain(CHILDREN_HERE) {
            rules.insert(*call, Vec::new());
        }
        // Threads yes, processes no. The flags of the newer call are out of a filter's sight; without it libraries take this one.
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        when(
            &mut rules,
            libc::SYS_clone,
            vec![argument(0, SeccompCmpOp::MaskedEq(thread), 0)?],
        )?;
        unknown.insert(libc::SYS_clone3, Vec::new());
    }
    #[cfg(target_arch = "x86_64")]
    {
        let twins: Rules = rules.iter().map(|(call, chain)| (call | X32, chain.clone())).collect();
        rules.extend(twins);
        rules.extend(X32_OWN.iter().map(|call| (call | X32, Vec::new())));
        rules.insert(libc::SYS_clone3 | X32, Vec::new());
    }
    let refused = errno(libc::EPERM);
    let missing = errno(libc::ENOSYS);
    [(rules, refused), (unknown, missing)]
        .into_iter()
        .filter(|(rules, _)| !rules.is_empty())
        .map(|(rules, action)| {
            let here = std::env::consts::ARCH.try_into()?;
            SeccompFilter::new(rules, SeccompAction::Allow, action, here)?.try_into()
        })
        .collect()
}

/// Applies the filters to this thread and all that it starts.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn apply(filters: &[BpfProgram]) -> Result<(), seccompiler::Error> {
    filters.iter().try_for_each(|filter| apply_filter(filter))
}

fn sockets(profile: &Profile, rules: &mut Rules) -> Result<(), BackendError> {
    let family = |family: libc::c_int| argument(0, SeccompCmpOp::Ne, family.unsigned_abs().into());
    let mut others = Vec::new();
    // The resolver asks the kernel over netlink which addresses this machine has.
    let known: &[_] = match profile.network {
        Network::Nothing => &[],
        Network::Internet => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
        Network::Port(_) => &[libc::AF_INET],
    };
    for known in known {
        others.push(family(*known)?);
    }
    if profile.unix {
        others.push(family(libc::AF_UNIX)?);
    }
    when(rules, libc::SYS_socket, others)?;
    if let Network::Port(_) = profile.network {
        // Landlock knows the ports of TCP alone.
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET] {
            let kind = argument(1, SeccompCmpOp::MaskedEq(0xf), kind.unsigned_abs().into())?;
            when(rules, libc::SYS_socket, vec![kind])?;
        }
    }
    if !profile.unix {
        // Half of a pair of streams is connected for good. Half of a pair of datagrams could be sent anywhere.
        when(rules, libc::SYS_socketpair, vec![family(libc::AF_UNIX)?])?;
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET] {
            let kind = argument(1, SeccompCmpOp::MaskedEq(0xf), kind.unsigned_abs().into())?;
            when(rules, libc::SYS_socketpair, vec![kind])?;
        }
    }
    Ok(())
}

/// Refuses `call` when all conditions hold; without conditions always.
fn when(rules: &mut Rules, call: libc::c_long, conditions: Vec<SeccompCondition>) -> Result<(), BackendError> {
    if conditions.is_empty() {
        rules.insert(call, Vec::new());
        return Ok(());
    }
    rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
    Ok(())
}

fn argument(index: u8, comparison: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, comparison, value)
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}
