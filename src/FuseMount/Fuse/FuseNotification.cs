using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Something to tell the kernel unasked.</summary>
/// <param name="Code">What.</param>
/// <param name="Node">Inode (INVAL_INODE) or parent directory (INVAL_ENTRY, DELETE).</param>
/// <param name="Child">DELETE: the inode that was removed.</param>
/// <param name="Offset">INVAL_INODE: first byte; negative for attributes only.</param>
/// <param name="Length">INVAL_INODE: bytes; 0 or less for all that follow.</param>
/// <param name="Flags">INVAL_ENTRY: expire only.</param>
/// <param name="Name">INVAL_ENTRY, DELETE: the name. Must not change until the notification is sent.</param>
public readonly record struct FuseNotification(
    FuseNotifyCode Code, ulong Node, ulong Child, long Offset, long Length, FuseExpireFlags Flags, ReadOnlyMemory<byte> Name)
{
    /// <summary>Largest encoded size: header, DELETE's structure, a name of 1024 bytes and its NUL.</summary>
    internal const int MaxBytes = 16 + 24 + 1024 + 1;

    /// <summary>Drops attributes and cached pages of a range; <paramref name="offset"/> negative drops attributes only.</summary>
    public static FuseNotification InvalidateInode(ulong node, long offset, long length) =>
        new(FuseNotifyCode.INVAL_INODE, node, 0, offset, length, FuseExpireFlags.None, default);

    /// <summary>Drops (or lets expire) a cached name.</summary>
    public static FuseNotification InvalidateEntry(ulong parent, ReadOnlyMemory<byte> name, bool expireOnly) =>
        new(FuseNotifyCode.INVAL_ENTRY, parent, 0, 0, 0, expireOnly ? FuseExpireFlags.EXPIRE_ONLY : FuseExpireFlags.None, name);

    /// <summary>Says that a name was removed: as INVAL_ENTRY, and watchers (inotify) are told.</summary>
    public static FuseNotification Delete(ulong parent, ulong child, ReadOnlyMemory<byte> name) =>
        new(FuseNotifyCode.DELETE, parent, child, 0, 0, FuseExpireFlags.None, name);

    /// <summary>Makes every cached name of the mount be looked up again (FUSE 7.44).</summary>
    public static FuseNotification IncrementEpoch() => new(FuseNotifyCode.INC_EPOCH, 0, 0, 0, 0, FuseExpireFlags.None, default);

    /// <summary>Asks for all requests that were read and not answered (FUSE 7.40).</summary>
    public static FuseNotification Resend() => new(FuseNotifyCode.RESEND, 0, 0, 0, 0, FuseExpireFlags.None, default);

    /// <summary>Writes the message.</summary>
    /// <returns>Its length, bytes.</returns>
    internal int Encode(Span<byte> message)
    {
        int header = Unsafe.SizeOf<FuseOutHeader>();
        int length = header;
        switch (Code)
        {
            case FuseNotifyCode.INVAL_INODE:
                Put(message, ref length, new FuseNotifyInvalInodeOut { Ino = Node, Offset = Offset, Length = Length });
                break;
            case FuseNotifyCode.INVAL_ENTRY:
                Put(message, ref length, new FuseNotifyInvalEntryOut { Parent = Node, NameLength = (uint)Name.Length, Flags = Flags });
                PutName(message, ref length);
                break;
            case FuseNotifyCode.DELETE:
                Put(message, ref length, new FuseNotifyDeleteOut { Parent = Node, Child = Child, NameLength = (uint)Name.Length });
                PutName(message, ref length);
                break;
            case FuseNotifyCode.INC_EPOCH:
            case FuseNotifyCode.RESEND:
                break;
            default:
                throw new InvalidOperationException($"notification {Code} is not sent");
        }
        MemoryMarshal.Write(message, new FuseOutHeader { Length = (uint)length, Error = (int)Code, Unique = 0 });
        return length;
    }

    /// <summary>One line for traces.</summary>
    public string Describe()
    {
        switch (Code)
        {
            case FuseNotifyCode.INVAL_INODE:
                return $"INVAL_INODE node={Node} offset={Offset} length={Length}";
            case FuseNotifyCode.INVAL_ENTRY:
            case FuseNotifyCode.DELETE:
                var line = new StringBuilder($"{Code} parent={Node} child={Child} flags={Flags} name=");
                FuseTrace.AppendName(line, Name.Span);
                return line.ToString();
            default:
                return Code.ToString();
        }
    }

    private static void Put<T>(Span<byte> message, ref int length, in T value)
        where T : unmanaged
    {
        MemoryMarshal.Write(message[length..], in value);
        length += Unsafe.SizeOf<T>();
    }

    private void PutName(Span<byte> message, ref int length)
    {
        Name.Span.CopyTo(message[length..]);
        length += Name.Length;
        message[length++] = 0;
    }
}
