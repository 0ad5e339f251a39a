using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>One call of a program, from its beginning to its result.</summary>
internal sealed class ProgramCall(string text, SimulatedNode node, long begin, long beginUs)
{
    public string Text => text;

    public SimulatedNode Node => node;

    /// <summary>When it began, in the oracle's count of all that is seen.</summary>
    public long Begin => begin;

    public long BeginUs => beginUs;

    /// <summary>When it ended with success; a call that failed or has not ended has changed nothing for certain.</summary>
    public long End { get; set; } = long.MaxValue;

    /// <summary>Operations that the server has applied for it, by opcode.</summary>
    public List<Rpc.Opcode> Applied { get; } = [];

    /// <summary>Whether it waits for other programs.</summary>
    public bool MayWait { get; set; }
}

/// <summary>An open file of a program.</summary>
/// <param name="Ino">The file.</param>
/// <param name="Handle">The daemon's handle.</param>
/// <param name="IsDirect">Whether it bypasses the page cache.</param>
internal sealed record OpenFile(ulong Ino, ulong Handle, bool IsDirect)
{
    public bool IsLocked { get; set; }
}

/// <summary>A program on a node: calls that a seed has chosen, one after the other, in a small tree that all programs share.</summary>
/// <param name="model">The model.</param>
/// <param name="node">Where it runs.</param>
/// <param name="number">Which one it is.</param>
/// <param name="calls">How many calls it makes.</param>
/// <param name="isCrowded">Whether all programs use one file, without resting much.</param>
internal sealed class Program(LeaseModel model, SimulatedNode node, int number, int calls, bool isCrowded = false)
{
    private const uint ReadWrite = 2;
    private const uint Create = 0x40;
    private const uint Exclusive = 0x80;

    private static readonly string[] Directories = ["", "d", "e"];
    private static readonly string[] Names = ["a", "b", "s"];

    /// <summary>A file has so many values. A write has the first, or all: then the first of one node has to be joined with the others of another.</summary>
    private const int Values = 2;

    private readonly Simulation _simulation = model.Simulation;
    private readonly List<OpenFile> _open = [];
    private readonly ulong _owner = (ulong)(1000 + number);

    private SimulatedKernel Kernel => node.Kernel;

    public bool IsDone { get; private set; }

    public SimulatedNode Node => node;

    public void Start() => _simulation.After(_simulation.Delay(1000, 20_000, 2_000_000), Kernel.Actor, () => _ = RunAsync());

    private async Task RunAsync()
    {
        try
        {
            for (var i = 0; i < calls; i++)
            {
                await PauseAsync();
                await ChooseAsync();
            }

            while (_open.Count > 0)
            {
                await CloseAsync(_open[0]);
            }

            IsDone = true;
        }
        catch (Exception e)
        {
            model.Fail(e);
        }
    }

    private Task PauseAsync()
    {
        var done = new TaskCompletionSource();
        _simulation.After(isCrowded ? _simulation.Delay(200, 20_000, 4_000_000) : _simulation.Delay(2_000, 200_000, 12_000_000), Kernel.Actor, done.SetResult);
        return done.Task;
    }

    private Task ChooseAsync()
    {
        var random = _simulation.Random;
        if (_open.Count > 0 && random.Percent(_open.Count > 2 ? 90 : 45))
        {
            var file = _open[random.Below(_open.Count)];
            return random.Below(10) switch
            {
                < 3 => WriteAsync(file),
                < 6 => ReadAsync(file),
                6 => SyncAsync(file),
                7 => file.IsLocked ? UnlockAsync(file) : LockAsync(file),
                _ => CloseAsync(file),
            };
        }

        if (isCrowded && !random.Percent(10))
        {
            return OpenAsync("", "a", random.Percent(80) ? Create : 0);
        }

        var (directory, name) = isCrowded ? ("", "a") : (random.Pick<string>(Directories), random.Pick<string>(Names));
        return random.Below(20) switch
        {
            < 7 => StatAsync(directory, name),
            < 10 => OpenAsync(directory, name, Create),
            10 => OpenAsync(directory, name, Create | Exclusive),
            11 or 12 => OpenAsync(directory, name, 0),
            13 => UnlinkAsync(directory, name),
            14 => MakeDirectoryAsync(directory, name),
            15 => RemoveDirectoryAsync(directory, name),
            16 or 17 => RenameAsync(directory, name, random.Pick<string>(Directories), random.Pick<string>(Names), random.Pick<FuseRenameFlags>(
                FuseRenameFlags.None, FuseRenameFlags.None, FuseRenameFlags.NOREPLACE, FuseRenameFlags.EXCHANGE)),
            18 => LinkAsync(directory, name, random.Pick<string>(Directories), random.Pick<string>(Names)),
            _ => ChangeModeAsync(directory, name),
        };
    }

    /// <summary>Makes the directories of the tree; whoever comes second finds them.</summary>
    public async Task PrepareAsync()
    {
        foreach (var directory in Directories[1..])
        {
            await MakeDirectoryAsync("", directory);
        }
    }

    private Task StatAsync(string directory, string name) => CallAsync($"stat {directory}/{name}", async call =>
    {
        var (errno, _, ino) = await WalkAsync(call, directory, name);
        if (errno == Errno.OK)
        {
            // Of a path one often asks for its directory as well.
            errno = await Kernel.StatAsync(call, ino);
        }

        return errno;
    });

    private Task MakeDirectoryAsync(string directory, string name) => CallAsync($"mkdir {directory}/{name}", call => InDirectoryAsync(call, directory, async parent =>
    {
        var (errno, ino) = await Kernel.FindAsync(call, parent.Ino, name, isLocked: true);
        if (errno != Errno.OK || ino != 0)
        {
            return errno != Errno.OK ? errno : Errno.EEXIST;
        }

        var answer = await Kernel.RequestAsync(call, FuseOpcode.MKDIR, parent.Ino, new FuseMkdirIn { Mode = 0x1C0 }, name);
        if (answer.Errno == Errno.OK)
        {
            Kernel.Instantiate(parent.Ino, name, answer.As<FuseEntryOut>(), version: 0);
            SimulatedKernel.Expire(parent);
            model.Oracle.MustHaveApplied(call, Rpc.Opcode.Mknod);
        }

        return answer.Errno;
    }));

    private Task OpenAsync(string directory, string name, uint flags) => CallAsync($"open {directory}/{name} {flags:x}", async call =>
    {
        if ((flags & Create) == 0)
        {
            var (walked, _, found) = await WalkAsync(call, directory, name);
            return walked != Errno.OK ? walked : await OpenFoundAsync(call, found);
        }

        return await InDirectoryAsync(call, directory, async parent =>
        {
            var (errno, ino) = await Kernel.FindAsync(call, parent.Ino, name, isLocked: true);
            if (errno != Errno.OK || ino != 0)
            {
                return errno != Errno.OK ? errno : (flags & Exclusive) != 0 ? Errno.EEXIST : await OpenFoundAsync(call, ino);
            }

            var answer = await Kernel.RequestAsync(call, FuseOpcode.CREATE, parent.Ino, new FuseCreateIn { Flags = ReadWrite | flags, Mode = 0x8180 }, name);
            if (answer.Errno == Errno.OK)
            {
                var inode = Kernel.Instantiate(parent.Ino, name, answer.As<FuseEntryOut>(), version: 0);
                SimulatedKernel.Expire(parent);
                model.Oracle.Made(call, parent.Ino, name, answer.As<FuseEntryOut>().Attr);
                await OpenedAsync(inode, answer.As<FuseOpenOut>(128));
            }

            return answer.Errno;
        });
    });

    private async Task<Errno> OpenFoundAsync(ProgramCall call, ulong ino)
    {
        var inode = Kernel.Known(ino);
        if (SimulatedKernel.IsDirectory(inode))
        {
            return Errno.EISDIR;
        }

        var answer = await Kernel.RequestAsync(call, FuseOpcode.OPEN, ino, new FuseOpenIn { Flags = ReadWrite });
        if (answer.Errno == Errno.OK)
        {
            await OpenedAsync(inode, answer.As<FuseOpenOut>());
        }

        return answer.Errno;
    }

    private async Task OpenedAsync(KernelInode inode, FuseOpenOut open)
    {
        if ((open.OpenFlags & FuseOpenFlags.KEEP_CACHE) == 0)
        {
            await inode.PageLock.AcquireAsync(exclusive: true);
            inode.Page = null;
            inode.PageLock.Release(exclusive: true);
        }

        inode.Opens++;
        _open.Add(new OpenFile(inode.Ino, open.Fh, (open.OpenFlags & FuseOpenFlags.DIRECT_IO) != 0));
    }

    private Task WriteAsync(OpenFile file) => CallAsync($"write {file.Ino}", async call =>
    {
        var inode = Kernel.Known(file.Ino);
        var bytes = new byte[_simulation.Random.Pick<int>(1, Values) * sizeof(ulong)];
        var writes = new List<ProgramWrite>();
        for (var offset = 0; offset < bytes.Length; offset += sizeof(ulong))
        {
            var value = model.Oracle.NewValue();
            BitConverter.TryWriteBytes(bytes.AsSpan(offset), value);
            writes.Add(model.Oracle.BeginWrite(call, file, offset, value));
        }

        _simulation.Note($"{call.Text}: {string.Join(' ', writes.Select(w => w.Value))}{(file.IsDirect ? " direct" : "")}");
        await inode.Lock.AcquireAsync(exclusive: true);
        if (!file.IsDirect)
        {
            await inode.PageLock.AcquireAsync(exclusive: true);
        }

        var answer = await Kernel.WriteAsync(call, file.Ino, file.Handle, bytes);
        if (answer.Errno == Errno.OK)
        {
            Kernel.Wrote(inode, (ulong)bytes.Length);
        }

        if (file.IsDirect)
        {
            // It waits for a page that is being read (invalidate_inode_pages2_range).
            await inode.PageLock.AcquireAsync(exclusive: true);
        }

        inode.Page = file.IsDirect || answer.Errno != Errno.OK || inode.Page is not { } page ? null : [.. bytes, .. page.Skip(bytes.Length)];
        inode.PageLock.Release(exclusive: true);

        inode.Lock.Release(exclusive: true);
        if (answer.Errno == Errno.OK)
        {
            writes.ForEach(model.Oracle.EndWrite);
        }

        return answer.Errno;
    });

    private Task ReadAsync(OpenFile file) => CallAsync($"read {file.Ino}", async call =>
    {
        var inode = Kernel.Known(file.Ino);
        byte[] bytes;
        var overtaken = false;
        var setsBack = inode.SetsBack;
        if (file.IsDirect)
        {
            var answer = await ReadFromDaemonAsync(call, file);
            if (answer.Errno != Errno.OK)
            {
                return answer.Errno;
            }

            bytes = answer.Data;
        }
        else
        {
            // A read across the end that the kernel knows asks for the size first.
            var errno = inode.UntilUs > _simulation.NowUs ? Errno.OK : await Kernel.StatAsync(call, file.Ino);
            overtaken = errno == Errno.OK && inode.IsOvertaken;
            if (errno != Errno.OK)
            {
                return errno;
            }

            await inode.PageLock.AcquireAsync(exclusive: true);
            if (inode.Page is null && inode.Attr.Size > 0)
            {
                var answer = await ReadFromDaemonAsync(call, file);
                errno = answer.Errno;
                inode.Page = errno == Errno.OK ? answer.Data : null;
            }

            bytes = inode.Page is { } page ? page[..(int)Math.Min((ulong)page.Length, inode.Attr.Size)] : [];
            overtaken |= inode.SetsBack != setsBack;
            inode.PageLock.Release(exclusive: true);
            if (errno != Errno.OK)
            {
                return errno;
            }
        }

        // Limits of the kernel: it leaves aside attributes that an invalidation has overtaken, and reads up to the end that it knew before; and it takes those of an answer
        // to link, mknod or setattr whatever it has learned while the program that asked did not run (create_new_entry in fs/fuse/dir.c: attr_version 0).
        if (!overtaken)
        {
            _simulation.Note($"{call.Text}: {string.Join(' ', System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ulong>(bytes).ToArray())}{(file.IsDirect ? " direct" : "")}");
            for (var offset = 0; offset < Values * sizeof(ulong); offset += sizeof(ulong))
            {
                model.Oracle.Read(call, file.Ino, offset, bytes.Length < offset + sizeof(ulong) ? 0 : BitConverter.ToUInt64(bytes, offset));
            }
        }

        return Errno.OK;
    });

    private Task<FuseAnswer> ReadFromDaemonAsync(ProgramCall call, OpenFile file) =>
        Kernel.RequestAsync(call, FuseOpcode.READ, file.Ino, new FuseReadIn { Fh = file.Handle, Size = 4096, Flags = ReadWrite });

    private Task SyncAsync(OpenFile file) => CallAsync($"fsync {file.Ino}", async call =>
    {
        var writes = model.Oracle.WritesOf(node, file.Ino);
        var answer = await Kernel.RequestAsync(call, FuseOpcode.FSYNC, file.Ino, new FuseFsyncIn { Fh = file.Handle });
        if (answer.Errno == Errno.OK)
        {
            Oracle.Synced(writes);
        }

        return answer.Errno;
    });

    private Task CloseAsync(OpenFile file) => CallAsync($"close {file.Ino}", async call =>
    {
        _open.Remove(file);
        model.Oracle.Unlocked(file.Ino, this);
        var writes = model.Oracle.WritesOf(node, file.Ino);
        var answer = await Kernel.RequestAsync(call, FuseOpcode.FLUSH, file.Ino, new FuseFlushIn { Fh = file.Handle, LockOwner = _owner });
        if (answer.Errno == Errno.OK)
        {
            Oracle.Synced(writes);
        }

        // The last reference goes: nobody waits for RELEASE.
        _ = ReleaseAsync(file);
        return answer.Errno;
    });

    private async Task ReleaseAsync(OpenFile file)
    {
        await Kernel.RequestAsync(null, FuseOpcode.RELEASE, file.Ino, new FuseReleaseIn { Fh = file.Handle, LockOwner = _owner });
        Kernel.Known(file.Ino).Opens--;
    }

    private Task LockAsync(OpenFile file) => CallAsync($"lock {file.Ino}", async call =>
    {
        // One lock at a time, so that programs do not wait for each other in a circle.
        var waits = _open.All(other => !other.IsLocked) && _simulation.Random.Percent(50);
        call.MayWait = waits;
        var answer = await Kernel.RequestAsync(call, waits ? FuseOpcode.SETLKW : FuseOpcode.SETLK, file.Ino, Lock(file, LockType.Write));
        if (answer.Errno == Errno.OK)
        {
            file.IsLocked = true;
            model.Oracle.Locked(call, file.Ino, this);
        }

        return answer.Errno;
    });

    private Task UnlockAsync(OpenFile file) => CallAsync($"unlock {file.Ino}", async call =>
    {
        file.IsLocked = false;
        model.Oracle.Unlocked(file.Ino, this);
        return (await Kernel.RequestAsync(call, FuseOpcode.SETLK, file.Ino, Lock(file, LockType.Unlock))).Errno;
    });

    private FuseLkIn Lock(OpenFile file, LockType type) => new()
    {
        Fh = file.Handle,
        Owner = _owner,
        Lock = new FuseFileLock { Type = (uint)type, End = long.MaxValue, Pid = (uint)number },
    };

    private Task UnlinkAsync(string directory, string name) =>
        RemoveAsync($"unlink {directory}/{name}", FuseOpcode.UNLINK, Rpc.Opcode.Unlink, directory, name, isDirectory: false);

    private Task RemoveDirectoryAsync(string directory, string name) =>
        RemoveAsync($"rmdir {directory}/{name}", FuseOpcode.RMDIR, Rpc.Opcode.Rmdir, directory, name, isDirectory: true);

    private Task RemoveAsync(string text, FuseOpcode opcode, Rpc.Opcode applied, string directory, string name, bool isDirectory) =>
        CallAsync(text, call => InDirectoryAsync(call, directory, async parent =>
        {
            var (errno, ino) = await Kernel.FindAsync(call, parent.Ino, name, isLocked: true);
            if (errno != Errno.OK || ino == 0)
            {
                return errno != Errno.OK ? errno : Errno.ENOENT;
            }

            if (SimulatedKernel.IsDirectory(Kernel.Known(ino)) != isDirectory)
            {
                return isDirectory ? Errno.ENOTDIR : Errno.EISDIR;
            }

            var removed = Kernel.Known(ino);
            await removed.Lock.AcquireAsync(exclusive: true);
            var answer = await Kernel.RequestAsync(call, opcode, parent.Ino, default(SimulatedKernel.Nothing), name);
            removed.Lock.Release(exclusive: true);
            if (answer.Errno is Errno.OK or Errno.ENOENT)
            {
                Kernel.Dentries.Remove((parent.Ino, name));
            }

            if (answer.Errno == Errno.OK)
            {
                Kernel.Unlinked(ino);
                SimulatedKernel.Expire(parent);
                model.Oracle.MustHaveApplied(call, applied);
            }

            return answer.Errno;
        }));

    private Task RenameAsync(string from, string name, string to, string newName, FuseRenameFlags flags) =>
        CallAsync($"rename {from}/{name} {to}/{newName} {flags}", async call =>
        {
            var (errno, parent) = await WalkDirectoryAsync(call, from);
            var (errno2, newParent) = errno != Errno.OK ? (errno, 0UL) : await WalkDirectoryAsync(call, to);
            if (errno2 != Errno.OK)
            {
                return errno2;
            }

            // lock_rename: one rename between directories at a time, then both directories.
            var between = parent != newParent;
            if (between)
            {
                await node.RenameLock.AcquireAsync(exclusive: true);
            }

            var first = Kernel.Known(Math.Min(parent, newParent));
            var second = Kernel.Known(Math.Max(parent, newParent));
            await first.Lock.AcquireAsync(exclusive: true);
            if (between)
            {
                await second.Lock.AcquireAsync(exclusive: true);
            }

            errno = await RenameLockedAsync(call, parent, name, newParent, newName, flags);
            if (between)
            {
                second.Lock.Release(exclusive: true);
            }

            first.Lock.Release(exclusive: true);
            if (between)
            {
                node.RenameLock.Release(exclusive: true);
            }

            return errno;
        });

    private async Task<Errno> RenameLockedAsync(ProgramCall call, ulong parent, string name, ulong newParent, string newName, FuseRenameFlags flags)
    {
        var (errno, ino) = await Kernel.FindAsync(call, parent, name, isLocked: true);
        var (errno2, target) = errno != Errno.OK || ino == 0 ? (errno, 0UL) : await Kernel.FindAsync(call, newParent, newName, isLocked: true);
        if (errno2 != Errno.OK || ino == 0)
        {
            return errno2 != Errno.OK ? errno2 : Errno.ENOENT;
        }

        if (ino == newParent || target == parent)
        {
            return Errno.EINVAL;
        }

        if (target != 0 ? flags == FuseRenameFlags.NOREPLACE : flags == FuseRenameFlags.EXCHANGE)
        {
            return target != 0 ? Errno.EEXIST : Errno.ENOENT;
        }

        if (ino == target)
        {
            return Errno.OK;
        }

        var answer = await Kernel.RequestAsync(
            call, FuseOpcode.RENAME2, parent, new FuseRename2In { NewDir = newParent, Flags = flags }, name, newName);
        if (answer.Errno != Errno.OK)
        {
            if (answer.Errno == Errno.ENOENT)
            {
                Kernel.Dentries.Remove((parent, name));
                Kernel.Dentries.Remove((newParent, newName));
            }

            return answer.Errno;
        }

        model.Oracle.MustHaveApplied(call, Rpc.Opcode.Rename);
        Kernel.Dentries.Remove((parent, name), out var moved);
        Kernel.Dentries.Remove((newParent, newName), out var replaced);
        if (moved is not null)
        {
            Kernel.Dentries[(newParent, newName)] = moved;
        }

        if (flags == FuseRenameFlags.EXCHANGE)
        {
            if (replaced is not null)
            {
                Kernel.Dentries[(parent, name)] = replaced;
            }

            SimulatedKernel.Expire(Kernel.Known(target));
        }
        else if (target != 0)
        {
            Kernel.Unlinked(target);
        }

        SimulatedKernel.Expire(Kernel.Known(ino));
        SimulatedKernel.Expire(Kernel.Known(parent));
        SimulatedKernel.Expire(Kernel.Known(newParent));
        return Errno.OK;
    }

    private Task LinkAsync(string from, string name, string to, string newName) => CallAsync($"link {from}/{name} {to}/{newName}", async call =>
    {
        var (errno, _, ino) = await WalkAsync(call, from, name);
        if (errno != Errno.OK)
        {
            return errno;
        }

        return await InDirectoryAsync(call, to, async parent =>
        {
            var (found, there) = await Kernel.FindAsync(call, parent.Ino, newName, isLocked: true);
            if (found != Errno.OK || there != 0)
            {
                return found != Errno.OK ? found : Errno.EEXIST;
            }

            if (SimulatedKernel.IsDirectory(Kernel.Known(ino)))
            {
                return Errno.EPERM;
            }

            var inode = Kernel.Known(ino);
            await inode.Lock.AcquireAsync(exclusive: true);
            var answer = await Kernel.RequestAsync(call, FuseOpcode.LINK, parent.Ino, new FuseLinkIn { OldNodeId = ino }, newName);
            inode.Lock.Release(exclusive: true);
            if (answer.Errno == Errno.OK)
            {
                Kernel.Instantiate(parent.Ino, newName, answer.As<FuseEntryOut>(), version: 0);
                SimulatedKernel.Expire(parent);
                model.Oracle.MustHaveApplied(call, Rpc.Opcode.Link);
            }

            return answer.Errno;
        });
    });

    private Task ChangeModeAsync(string directory, string name) => CallAsync($"chmod {directory}/{name}", async call =>
    {
        var (errno, _, ino) = await WalkAsync(call, directory, name);
        if (errno != Errno.OK)
        {
            return errno;
        }

        var inode = Kernel.Known(ino);
        await inode.Lock.AcquireAsync(exclusive: true);
        var mode = (inode.Attr.Mode & 0xF000) | 0x180 | (uint)_simulation.Random.Below(128);
        var answer = await Kernel.RequestAsync(call, FuseOpcode.SETATTR, ino, new FuseSetattrIn { Valid = FuseSetattrValid.MODE, Mode = mode });
        if (answer.Errno == Errno.OK)
        {
            var reply = answer.As<FuseAttrOut>();
            Kernel.Learn(inode, reply.Attr, reply.AttrValid, reply.AttrValidNsec, version: 0);
            if (reply.Attr.Nlink > 0)
            {
                model.Oracle.MustHaveApplied(call, Rpc.Opcode.SetAttr);
            }
        }

        inode.Lock.Release(exclusive: true);
        return answer.Errno;
    });

    private async Task<(Errno Errno, ulong Ino)> WalkDirectoryAsync(ProgramCall call, string directory)
    {
        if (directory.Length == 0)
        {
            return (Errno.OK, Ino.Root);
        }

        var (errno, ino) = await Kernel.FindAsync(call, Ino.Root, directory, isLocked: false);
        return errno != Errno.OK || ino == 0 ? (errno != Errno.OK ? errno : Errno.ENOENT, 0)
            : SimulatedKernel.IsDirectory(Kernel.Known(ino)) ? (Errno.OK, ino)
            : (Errno.ENOTDIR, 0);
    }

    private async Task<(Errno Errno, ulong Parent, ulong Ino)> WalkAsync(ProgramCall call, string directory, string name)
    {
        var (errno, parent) = await WalkDirectoryAsync(call, directory);
        if (errno != Errno.OK)
        {
            return (errno, 0, 0);
        }

        var (found, ino) = await Kernel.FindAsync(call, parent, name, isLocked: false);
        return (found != Errno.OK ? found : ino == 0 ? Errno.ENOENT : Errno.OK, parent, ino);
    }

    /// <summary>Something that changes a directory: under its lock.</summary>
    private async Task<Errno> InDirectoryAsync(ProgramCall call, string directory, Func<KernelInode, Task<Errno>> work)
    {
        var (errno, ino) = await WalkDirectoryAsync(call, directory);
        if (errno != Errno.OK)
        {
            return errno;
        }

        var parent = Kernel.Known(ino);
        await parent.Lock.AcquireAsync(exclusive: true);
        try
        {
            return await work(parent);
        }
        finally
        {
            parent.Lock.Release(exclusive: true);
        }
    }

    private async Task CallAsync(string text, Func<ProgramCall, Task<Errno>> work)
    {
        var call = new ProgramCall($"{node.Name}.{number} {text}", node, model.Oracle.Tick(), _simulation.NowUs);
        Kernel.ActiveCalls++;
        model.Calls.Add(call);
        _simulation.Note($"{call.Text} ...");
        var errno = await work(call);
        _simulation.Note($"{call.Text} = {errno}");
        model.Calls.Remove(call);
        Kernel.ActiveCalls--;
        model.Ended(call, errno);
    }
}
