using System.Diagnostics;
using System.Globalization;
using System.Text;
using EphemeralFs.Core;

namespace EphemeralFs.FuseMount.Fuse;

/// <summary>Prints requests and replies with the names of their flags. Slow and allocating: for eyes, not for production.</summary>
public sealed class FuseTrace(Action<string> sink)
{
    private const int MaxNameBytes = 80;

    /// <summary>The sink, if <c>EPHEMERALFS_TRACE</c> lists <c>fuse</c> (comma-separated), else null.</summary>
    public static Action<string>? FromEnvironment(Action<string> sink)
    {
        string? wanted = Environment.GetEnvironmentVariable("EPHEMERALFS_TRACE");
        return wanted is not null && wanted.Split(',', StringSplitOptions.TrimEntries).Contains("fuse") ? sink : null;
    }

    /// <summary>A line for a request that begins.</summary>
    internal void Request(FuseRequest request) => sink("> " + Format(request));

    /// <summary>A line for its answer.</summary>
    internal void Reply(FuseRequest request, Errno error, int bytes, long ticks)
    {
        double us = ticks * (1e6 / Stopwatch.Frequency);
        string result = bytes < 0 ? "(no reply)" : error == Errno.OK ? $"OK {bytes} bytes" : error.ToString();
        sink(string.Create(CultureInfo.InvariantCulture, $"< {request.Opcode} #{request.Unique} {result} {us:F0} us"));
    }

    /// <summary>A line for a notification and its result.</summary>
    internal void Notification(FuseNotification notification, Errno result) => sink($"! {notification.Describe()} {result}");

    /// <summary>A request in one line.</summary>
    public static string Format(FuseRequest request)
    {
        var line = new StringBuilder(128);
        line.Append(CultureInfo.InvariantCulture, $"{request.Opcode} #{request.Unique}");
        if (request.IsResent)
        {
            line.Append(" RESENT");
        }
        line.Append(CultureInfo.InvariantCulture, $" node={request.NodeId} uid={request.Uid} gid={request.Gid} pid={request.Pid}");
        if (request.Row.Names > 0)
        {
            line.Append(" name=");
            AppendName(line, request.Name);
        }
        if (request.Row.Names > 1)
        {
            line.Append(" name2=");
            AppendName(line, request.Name2);
        }
        string? input = Input(request);
        if (input is not null)
        {
            line.Append(' ').Append(input);
        }
        if (request.Row.Payload.Present)
        {
            line.Append(CultureInfo.InvariantCulture, $" payload={request.Payload.Length}");
        }
        return line.ToString();
    }

    private static string? Input(FuseRequest request)
    {
        FormattableString? text = request.Opcode switch
        {
            FuseOpcode.FORGET => $"nlookup={request.In<FuseForgetIn>().Nlookup}",
            FuseOpcode.GETATTR => Get(request.In<FuseGetattrIn>()),
            FuseOpcode.SETATTR => Set(request.In<FuseSetattrIn>()),
            FuseOpcode.MKNOD => Mk(request.In<FuseMknodIn>()),
            FuseOpcode.MKDIR => Mk(request.In<FuseMkdirIn>()),
            FuseOpcode.RENAME or FuseOpcode.RENAME2 => Ren(request.In<FuseRename2In>()),
            FuseOpcode.LINK => $"old={request.In<FuseLinkIn>().OldNodeId}",
            FuseOpcode.OPEN or FuseOpcode.OPENDIR => Open(request.In<FuseOpenIn>()),
            FuseOpcode.CREATE or FuseOpcode.TMPFILE => Cr(request.In<FuseCreateIn>()),
            FuseOpcode.READ or FuseOpcode.READDIR or FuseOpcode.READDIRPLUS => Rd(request.In<FuseReadIn>()),
            FuseOpcode.WRITE => Wr(request.In<FuseWriteIn>()),
            FuseOpcode.RELEASE or FuseOpcode.RELEASEDIR => Rel(request.In<FuseReleaseIn>()),
            FuseOpcode.FSYNC or FuseOpcode.FSYNCDIR => Fs(request.In<FuseFsyncIn>()),
            FuseOpcode.FLUSH => Fl(request.In<FuseFlushIn>()),
            FuseOpcode.SETXATTR => Sx(request.In<FuseSetxattrIn>()),
            FuseOpcode.GETXATTR or FuseOpcode.LISTXATTR => $"size={request.In<FuseGetxattrIn>().Size}",
            FuseOpcode.GETLK or FuseOpcode.SETLK or FuseOpcode.SETLKW => Lk(request.In<FuseLkIn>()),
            FuseOpcode.ACCESS => $"mask={request.In<FuseAccessIn>().Mask}",
            FuseOpcode.IOCTL => Io(request.In<FuseIoctlIn>()),
            FuseOpcode.POLL => Po(request.In<FusePollIn>()),
            FuseOpcode.FALLOCATE => Fa(request.In<FuseFallocateIn>()),
            FuseOpcode.LSEEK => Ls(request.In<FuseLseekIn>()),
            FuseOpcode.COPY_FILE_RANGE or FuseOpcode.COPY_FILE_RANGE_64 => Cp(request.In<FuseCopyFileRangeIn>()),
            FuseOpcode.STATX => St(request.In<FuseStatxIn>()),
            _ => null,
        };
        return text?.ToString(CultureInfo.InvariantCulture);
    }

    private static FormattableString Get(FuseGetattrIn i) => $"flags={i.Flags} fh={i.Fh}";

    private static FormattableString Set(FuseSetattrIn i) =>
        $"valid={i.Valid} fh={i.Fh} size={i.Size} mode={Octal(i.Mode)} uid={(int)i.Uid} gid={(int)i.Gid}";

    private static FormattableString Mk(FuseMknodIn i) => $"mode={Octal(i.Mode)} umask={Octal(i.Umask)} rdev={i.Rdev}";

    private static FormattableString Mk(FuseMkdirIn i) => $"mode={Octal(i.Mode)} umask={Octal(i.Umask)}";

    private static FormattableString Ren(FuseRename2In i) => $"newdir={i.NewDir} flags={i.Flags}";

    private static FormattableString Open(FuseOpenIn i) => $"flags={OpenFlags(i.Flags)} open={i.OpenFlags}";

    private static FormattableString Cr(FuseCreateIn i) =>
        $"flags={OpenFlags(i.Flags)} mode={Octal(i.Mode)} umask={Octal(i.Umask)} open={i.OpenFlags}";

    private static FormattableString Rd(FuseReadIn i) => $"fh={i.Fh} offset={i.Offset} size={i.Size} read={i.ReadFlags}";

    private static FormattableString Wr(FuseWriteIn i) => $"fh={i.Fh} offset={i.Offset} size={i.Size} write={i.WriteFlags}";

    private static FormattableString Rel(FuseReleaseIn i) => $"fh={i.Fh} release={i.ReleaseFlags} owner={i.LockOwner:x}";

    private static FormattableString Fs(FuseFsyncIn i) => $"fh={i.Fh} fsync={i.FsyncFlags}";

    private static FormattableString Fl(FuseFlushIn i) => $"fh={i.Fh} owner={i.LockOwner:x}";

    private static FormattableString Sx(FuseSetxattrIn i) => $"size={i.Size} flags={i.Flags} ext={i.SetxattrFlags}";

    private static FormattableString Lk(FuseLkIn i) =>
        $"fh={i.Fh} owner={i.Owner:x} type={i.Lock.Type} start={i.Lock.Start} end={i.Lock.End} pid={i.Lock.Pid} lk={i.LkFlags}";

    private static FormattableString Io(FuseIoctlIn i) => $"fh={i.Fh} cmd=0x{i.Command:x} flags={i.Flags} in={i.InSize} out={i.OutSize}";

    private static FormattableString Po(FusePollIn i) => $"fh={i.Fh} kh={i.Kh} flags={i.Flags} events=0x{i.Events:x}";

    private static FormattableString Fa(FuseFallocateIn i) => $"fh={i.Fh} offset={i.Offset} length={i.Length} mode=0x{i.Mode:x}";

    private static FormattableString Ls(FuseLseekIn i) => $"fh={i.Fh} offset={i.Offset} whence={i.Whence}";

    private static FormattableString Cp(FuseCopyFileRangeIn i) =>
        $"fh={i.FhIn} offset={i.OffsetIn} node-out={i.NodeIdOut} fh-out={i.FhOut} offset-out={i.OffsetOut} length={i.Length}";

    private static FormattableString St(FuseStatxIn i) => $"flags={i.Flags} fh={i.Fh} mask=0x{i.SxMask:x}";

    private static string Octal(uint mode) => "0" + Convert.ToString(mode, 8);

    /// <summary>Flags of open(2), as Linux numbers them on x86-64 and arm64 alike where they are named here.</summary>
    internal static string OpenFlags(uint flags)
    {
        var text = new StringBuilder((flags & 3) switch { 0 => "O_RDONLY", 1 => "O_WRONLY", 2 => "O_RDWR", _ => "O_ACCMODE" });
        uint rest = flags & ~3u;
        ReadOnlySpan<(uint Bit, string Name)> names =
        [
            (0x40, "O_CREAT"), (0x80, "O_EXCL"), (0x100, "O_NOCTTY"), (0x200, "O_TRUNC"), (0x400, "O_APPEND"), (0x800, "O_NONBLOCK"),
            (0x1000, "O_DSYNC"), (0x4000, "O_DIRECT"), (0x8000, "O_LARGEFILE"), (0x10000, "O_DIRECTORY"), (0x20000, "O_NOFOLLOW"),
            (0x40000, "O_NOATIME"), (0x80000, "O_CLOEXEC"), (0x100000, "O_SYNC"), (0x200000, "O_PATH"), (0x400000, "O_TMPFILE"),
        ];
        foreach ((uint bit, string name) in names)
        {
            if ((rest & bit) != 0)
            {
                text.Append('|').Append(name);
                rest &= ~bit;
            }
        }
        if (rest != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"|0x{rest:x}");
        }
        return text.ToString();
    }

    /// <summary>A name in quotes, bytes outside of printable ASCII escaped, long ones cut.</summary>
    internal static void AppendName(StringBuilder line, ReadOnlySpan<byte> name)
    {
        line.Append('"');
        foreach (byte b in name[..Math.Min(name.Length, MaxNameBytes)])
        {
            if (b is >= 0x20 and < 0x7f and not (byte)'"' and not (byte)'\\')
            {
                line.Append((char)b);
            }
            else
            {
                line.Append(CultureInfo.InvariantCulture, $"\\x{b:x2}");
            }
        }
        line.Append(name.Length > MaxNameBytes ? "\"…" : "\"");
    }
}
