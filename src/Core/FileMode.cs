namespace EphemeralFs.Core;

/// <summary>Bits of <c>st_mode</c>, <c>inode(7)</c>.</summary>
public static class FileMode
{
    public const uint TypeMask = 0xF000;
    public const uint Socket = 0xC000;
    public const uint Symlink = 0xA000;
    public const uint Regular = 0x8000;
    public const uint BlockDevice = 0x6000;
    public const uint Directory = 0x4000;
    public const uint CharDevice = 0x2000;
    public const uint Fifo = 0x1000;
    public const uint SetUid = 0x800;
    public const uint SetGid = 0x400;
    public const uint Sticky = 0x200;
    public const uint GroupExecute = 0x8;
    public const uint GroupAll = 0x38;
    public const uint PermissionMask = 0xFFF;

    /// <summary>The <c>d_type</c> of a mode, <c>readdir(3)</c>.</summary>
    public static byte DirentType(uint mode) => (byte)((mode & TypeMask) >> 12);
}
