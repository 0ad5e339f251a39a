using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using FileMode = EphemeralFs.Core.FileMode;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>Draws encoded requests that mostly make sense in a state: few names, numbers and offsets, so that they meet.</summary>
internal sealed class RandomRequests(Random random)
{
    private static readonly uint[] s_types = [FileMode.Regular, FileMode.Regular, FileMode.Directory, FileMode.Directory, FileMode.Symlink, FileMode.Fifo];

    private ulong _handles;
    private CreateAndCommitRequest? _lastCreate;

    /// <summary>A request for a session, and its opcode.</summary>
    public (Opcode Opcode, byte[] Head) Next(VolumeState state, SessionState session) => random.Next(30) switch
    {
        0 or 1 => Encode<AcquireGrantRequest, AcquireGrantReply>(
            new((ulong)random.Next(10) * 4096, (uint)random.Next(20), (uint)random.Next(20))),
        2 => Encode<ReturnGrantRequest, Empty>(new((ulong)random.Next(4) * 4096)),
        3 or 4 or 5 => Mknod(state, session),
        6 or 7 or 8 => Encode<CreateRequest, CreateReply>(new(
            Directory(state), FreeIno(session), Name(), TestVolume.FileBits, 1, 2, ++_handles, (OpenFlags)random.Next(8))),
        9 => Encode<TmpfileRequest, OpenReply>(
            new(Directory(state), FreeIno(session), TestVolume.FileBits, 1, 2, ++_handles, (OpenFlags)(random.Next(8) & ~2))),
        10 or 11 => Encode<UnlinkRequest, NameReply>(new(Directory(state), Name())),
        12 => Rmdir(state),
        13 or 14 => Encode<RenameRequest, RenameReply>(new(Directory(state), Name(), Directory(state), Name(), (uint)random.Next(3))),
        15 => Encode<LinkRequest, NameReply>(new(Any(state), Directory(state), Name())),
        16 => Encode<OpenRequest, OpenReply>(new(Any(state), ++_handles, (OpenFlags)random.Next(32))),
        27 => Encode<OpenNameRequest, OpenNameReply>(new(Directory(state), Name(), ++_handles)),
        17 or 18 => Encode<CloseRequest, Empty>(new(session.Handles.Count == 0 ? 0 : session.Handles.Keys.ElementAt(random.Next(session.Handles.Count)))),
        19 or 20 or 21 => Encode<CommitRequest, CommitReply>(Commit(state, session)),
        28 => CreateAndCommit(state, session),
        22 => Encode<FallocateRequest, EntryReply>(new(
            AFile(state), new uint[] { 0, 1, 3, 16, 17 }[random.Next(5)], Offset(), (ulong)random.Next(1, 30_000), random.Next(2) == 0)),
        23 => Encode<CloneRequest, CloneReply>(new(AFile(state), Offset(), AFile(state), Offset(), (ulong)random.Next(40_000))),
        24 => Encode<SetAttrRequest, EntryReply>(new(
            random.Next(2) == 0 ? AFile(state) : Any(state), (SetAttrFields)random.Next(512), (uint)random.Next(4096), 3, 4, Offset(), 5, 6)),
        25 => Encode<SetXattrRequest, Empty>(new(
            Any(state), TestVolume.Name($"user.{random.Next(3)}"), new byte[random.Next(50)], (uint)random.Next(3))),
        26 => Encode<RemoveXattrRequest, Empty>(new(Any(state), TestVolume.Name($"user.{random.Next(3)}"))),
        _ => Encode<SetLockRequest, Empty>(new(
            Any(state), (ulong)random.Next(2), random.Next(3) == 0, false, new LockRange((LockType)random.Next(3), (ulong)random.Next(20), 20 + (ulong)random.Next(20), 9))),
    };

    public static (Opcode Opcode, byte[] Head) Encode<TRequest, TReply>(TRequest request)
        where TRequest : struct, IRequest<TRequest, TReply>
        where TReply : struct, IWireMessage<TReply>
    {
        var writer = new WireWriter(new byte[256]);
        request.Write(ref writer);
        return (TRequest.Opcode, writer.Written.ToArray());
    }

    private const ulong Root = Ino.Root;

    private static ulong FreeIno(SessionState session)
    {
        foreach (var range in session.Inodes.Ranges)
        {
            for (var ino = range.First; ino < range.First + range.Count; ino++)
            {
                if (range.Has(ino))
                {
                    return ino;
                }
            }
        }

        return 0;
    }

    private byte[] Name() => TestVolume.Name($"{(char)('a' + random.Next(6))}");

    private ulong Offset() => random.Next(3) switch { 0 => 0, 1 => (ulong)random.Next(10) * 4096, _ => (ulong)random.Next(50_000) };

    private ulong Pick(VolumeState state, Func<Inode, bool> predicate)
    {
        var all = state.Inodes.Sorted().Where(predicate).ToArray();
        return all.Length == 0 ? (ulong)random.Next(100) : all[random.Next(all.Length)].Ino;
    }

    private ulong Any(VolumeState state) => Pick(state, _ => true);

    private ulong Directory(VolumeState state) => Pick(state, i => i.Attributes.IsDirectory);

    private ulong AFile(VolumeState state) => Pick(state, i => i.Attributes.IsRegular);

    private (Opcode Opcode, byte[] Head) Mknod(VolumeState state, SessionState session)
    {
        var type = s_types[random.Next(s_types.Length)];
        return Encode<MknodRequest, NameReply>(new(
            Directory(state), FreeIno(session), Name(), type | (uint)random.Next(4096), 1, 2, 0, type == FileMode.Symlink ? TestVolume.Name("target") : default));
    }

    private (Opcode Opcode, byte[] Head) Rmdir(VolumeState state)
    {
        var directory = state.Inodes.Find(Pick(state, i => i.Attributes.IsDirectory && i.Attributes.Nlink == 2 && i.Ino != Root));
        if (directory is not { Attributes.IsDirectory: true } || random.Next(3) == 0)
        {
            return Encode<RmdirRequest, NameReply>(new(Directory(state), Name()));
        }

        var names = state.Inodes.Find(directory.Directory.Parent)!.Directory;
        var position = names.PositionAfter(0);
        DirectoryItem found;
        while (names.TryRead(ref position, out found) && found.Ino != directory.Ino)
        {
        }

        return Encode<RmdirRequest, NameReply>(new(directory.Directory.Parent, found.Name.ToArray()));
    }

    /// <summary>Of a new file; or of one that was made so before, by a daemon that did not live to hear it.</summary>
    private (Opcode Opcode, byte[] Head) CreateAndCommit(VolumeState state, SessionState session)
    {
        if (_lastCreate is { } again && random.Next(3) == 0)
        {
            return Encode<CreateAndCommitRequest, CreateAndCommitReply>(again);
        }

        var ino = FreeIno(session);
        var create = new CreateRequest(Directory(state), ino, Name(), TestVolume.FileBits, 1, 2, ++_handles, (OpenFlags)random.Next(8) | OpenFlags.Exclusive);
        _lastCreate = new(create, random.Next(1000), Commit(state, session) with { Ino = ino, Base = random.Next(3) == 0 ? 0U : 1U });
        return Encode<CreateAndCommitRequest, CreateAndCommitReply>(_lastCreate.Value);
    }

    private CommitRequest Commit(VolumeState state, SessionState session)
    {
        var flags = (CommitFlags)(random.Next(8) << 1);
        if (random.Next(3) == 0)
        {
            var inline = new byte[random.Next(Limits.InlineMaxBytes + 1)];
            random.NextBytes(inline);
            var file = AFile(state);
            return new(file, flags | CommitFlags.HasInline, Offset(), [], inline, BaseOf(state, file));
        }

        List<Extent> extents = [];
        var at = Offset();
        for (var count = random.Next(4); count > 0; count--)
        {
            var length = (ulong)random.Next(1, 20_000);
            var known = state.Blocks.References.Select(p => p.Key).Order().ToArray();
            var block = known.Length > 0 && random.Next(3) == 0 ? known[random.Next(known.Length)] : FreeBlock(session);
            extents.Add(new Extent(at, length, block, (uint)random.Next(10_000), 1 + (uint)(block % 2)));
            at += length + (random.Next(2) == 0 ? 0 : (ulong)random.Next(10_000));
        }

        var target = AFile(state);
        return new(target, flags, random.Next(2) == 0 ? 0 : Offset(), [.. extents], default, BaseOf(state, target));
    }

    /// <summary>Mostly the version that the file has.</summary>
    private ulong BaseOf(VolumeState state, ulong ino) =>
        random.Next(10) == 0 ? (ulong)random.Next(5) : state.Inodes.Find(ino)?.Attributes.DataVersion ?? 0;

    private ulong FreeBlock(SessionState session)
    {
        var ranges = session.Blocks.Ranges;
        if (ranges.Count == 0)
        {
            return 0;
        }

        var range = ranges[random.Next(ranges.Count)];
        return BlockId.Make((uint)(session.Id >> 32), range.First + (ulong)random.NextInt64(range.Count));
    }
}
