namespace EphemeralFs.Interop;

/// <summary>The file of a unix socket.</summary>
public static class UnixSocketFile
{
    private const int AtFdCwd = -100, AtSymlinkNoFollow = 0x100;
    private const uint StatxType = 1;

    /// <summary>Size of <c>struct statx</c>, and where its <c>stx_mode</c> lies.</summary>
    private const int StatxBytes = 256, ModeOffset = 28;

    private const int TypeMask = 0xF000, Socket = 0xC000;

    /// <summary>Whether there is a socket at the path; false for nothing and for a file of another type.</summary>
    public static unsafe bool IsSocket(string path)
    {
        var result = stackalloc byte[StatxBytes]; // as large as the kernel writes, statx(2)
        return UnixSocketNative.Statx(AtFdCwd, path, AtSymlinkNoFollow, StatxType, result) == 0
            && (*(ushort*)(result + ModeOffset) & TypeMask) == Socket;
    }
}
