using System.IO;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Locks;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Metadata.Journaling;

/// <summary>Reads what <see cref="SnapshotWriter"/> has written, after the checksum was found to match.</summary>
internal static class SnapshotReader
{
    public static VolumeState Read(BinaryReader r, uint volume)
    {
        var v = new VolumeState(volume)
        {
            LimitBytes = r.ReadUInt64(),
            LimitInodes = r.ReadUInt64(),
            NextIno = r.ReadUInt64(),
            NextBlock = r.ReadUInt64(),
            SessionsOpened = r.ReadUInt32(),
            Opens = r.ReadUInt64(),
        };
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            ReadInode(r, v);
        }

        for (var count = r.ReadInt32(); count > 0; count--)
        {
            var session = ReadSession(r);
            v.Sessions.Add(session.Id, session);
            v.GrantedBytes += session.GrantBytes;
        }

        for (var count = r.ReadInt32(); count > 0; count--)
        {
            var queue = v.Blocks.QueueFor(r.ReadUInt32());
            for (var ids = r.ReadInt32(); ids > 0; ids--)
            {
                queue.Add(r.ReadUInt64());
            }
        }

        for (var count = r.ReadInt32(); count > 0; count--)
        {
            var held = new HeldLock(
                r.ReadUInt64(),
                new LockOwner(r.ReadUInt64(), r.ReadUInt64()),
                r.ReadBoolean(),
                new LockRange((LockType)r.ReadByte(), r.ReadUInt64(), r.ReadUInt64(), r.ReadUInt32()));
            if (!v.Locks.TryRestore(held))
            {
                throw new InvalidDataException($"the lock of inode {held.Ino} conflicts with another");
            }
        }

        return v;
    }

    private static void ReadInode(BinaryReader r, VolumeState v)
    {
        var inode = new Inode
        {
            Attributes = new InodeAttributes
            {
                Ino = r.ReadUInt64(),
                Generation = r.ReadUInt32(),
                Mode = r.ReadUInt32(),
                Nlink = r.ReadUInt32(),
                Uid = r.ReadUInt32(),
                Gid = r.ReadUInt32(),
                Rdev = r.ReadUInt32(),
                Size = r.ReadUInt64(),
                AllocatedBytes = r.ReadUInt64(),
                AtimeNs = r.ReadInt64(),
                MtimeNs = r.ReadInt64(),
                CtimeNs = r.ReadInt64(),
                BtimeNs = r.ReadInt64(),
                DataVersion = r.ReadUInt64(),
            },
        };
        inode.Content = (ContentKind)r.ReadByte() switch
        {
            ContentKind.None => null,
            ContentKind.Directory => ReadDirectory(r, v),
            ContentKind.File => ReadFile(r, v),
            ContentKind.Symlink => ReadBytes(r),
            var kind => throw new InvalidDataException($"inode {inode.Ino} has content of the unknown kind {kind}"),
        };
        inode.Extras = r.ReadBoolean() ? ReadExtras(r) : null;
        inode.NoteXattrs();
        v.Inodes.Add(inode);
        v.UsedBytes += inode.Attributes.AllocatedBytes;
    }

    private static DirectoryContent ReadDirectory(BinaryReader r, VolumeState v)
    {
        var directory = new DirectoryContent(r.ReadUInt64()) { NextCookie = r.ReadUInt64() };
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            var cookie = r.ReadUInt64();
            var ino = r.ReadUInt64();
            var type = r.ReadByte();
            directory.Add(r.ReadBytes(r.ReadByte()), ino, type, cookie);
            v.Dentries++;
        }

        return directory;
    }

    private static FileContent ReadFile(BinaryReader r, VolumeState v)
    {
        var file = new FileContent { Inline = ReadBytes(r) };
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            file.Insert(new Extent(r.ReadUInt64(), r.ReadUInt64(), r.ReadUInt64(), r.ReadUInt32(), r.ReadUInt32()), v.Blocks);
        }

        return file;
    }

    private static InodeExtras ReadExtras(BinaryReader r)
    {
        var extras = new InodeExtras { Linkable = r.ReadBoolean() };
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            (extras.Xattrs ??= []).Add(new Xattr(ReadBytes(r), ReadBytes(r)));
        }

        for (var count = r.ReadInt32(); count > 0; count--)
        {
            extras.AddOpener(new Opener
            {
                Session = r.ReadUInt64(),
                Since = r.ReadUInt64(),
                Readers = r.ReadInt32(),
                Writers = r.ReadInt32(),
                Through = r.ReadBoolean(),
                Quiet = r.ReadBoolean(),
            });
        }

        return extras;
    }

    private static SessionState ReadSession(BinaryReader r)
    {
        var session = new SessionState(r.ReadUInt64(), r.ReadString(), r.ReadUInt64()) { Epoch = r.ReadUInt32(), GrantBytes = r.ReadUInt64() };
        ReadGrants(r, session.Inodes);
        ReadGrants(r, session.Blocks);
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            session.Handles.Add(r.ReadUInt64(), new OpenHandle(r.ReadUInt64(), r.ReadBoolean()));
        }

        for (var slot = r.ReadInt32(); slot >= 0; slot = r.ReadInt32())
        {
            if (slot >= Limits.SlotsPerSession)
            {
                throw new InvalidDataException($"session {session.Id:x} has no slot {slot}");
            }

            session.Slot((uint)slot).Record(r.ReadUInt32(), r.ReadUInt64(), ReadBytes(r));
        }

        return session;
    }

    private static void ReadGrants(BinaryReader r, NumberGrants grants)
    {
        for (var count = r.ReadInt32(); count > 0; count--)
        {
            var first = r.ReadUInt64();
            var length = r.ReadUInt32();
            var left = r.ReadUInt32();
            var bits = new ulong[(length + 63) / 64];
            for (var i = 0; i < bits.Length; i++)
            {
                bits[i] = r.ReadUInt64();
            }

            grants.Add(new NumberGrants.Range(first, length, bits) { Left = left });
        }
    }

    private static byte[] ReadBytes(BinaryReader r)
    {
        var length = r.ReadInt32();
        return length == 0 ? [] : r.ReadBytes(length);
    }
}
