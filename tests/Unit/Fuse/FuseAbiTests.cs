using System.Runtime.CompilerServices;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

/// <summary>Sizes and a few offsets of the kernel's structures (uapi linux/fuse.h 7.45, measured with a C compiler).</summary>
public class FuseAbiTests
{
    public static TheoryData<string, int, int> Sizes => new()
    {
        { nameof(FuseForgetIn), 8, Unsafe.SizeOf<FuseForgetIn>() },
        { nameof(FuseBatchForgetIn), 8, Unsafe.SizeOf<FuseBatchForgetIn>() },
        { nameof(FuseGetattrIn), 16, Unsafe.SizeOf<FuseGetattrIn>() },
        { nameof(FuseStatxIn), 24, Unsafe.SizeOf<FuseStatxIn>() },
        { nameof(FuseMknodIn), 16, Unsafe.SizeOf<FuseMknodIn>() },
        { nameof(FuseMkdirIn), 8, Unsafe.SizeOf<FuseMkdirIn>() },
        { nameof(FuseRenameIn), 8, Unsafe.SizeOf<FuseRenameIn>() },
        { nameof(FuseRename2In), 16, Unsafe.SizeOf<FuseRename2In>() },
        { nameof(FuseLinkIn), 8, Unsafe.SizeOf<FuseLinkIn>() },
        { nameof(FuseSetattrIn), 88, Unsafe.SizeOf<FuseSetattrIn>() },
        { nameof(FuseOpenIn), 8, Unsafe.SizeOf<FuseOpenIn>() },
        { nameof(FuseCreateIn), 16, Unsafe.SizeOf<FuseCreateIn>() },
        { nameof(FuseReleaseIn), 24, Unsafe.SizeOf<FuseReleaseIn>() },
        { nameof(FuseFlushIn), 24, Unsafe.SizeOf<FuseFlushIn>() },
        { nameof(FuseReadIn), 40, Unsafe.SizeOf<FuseReadIn>() },
        { nameof(FuseWriteIn), 40, Unsafe.SizeOf<FuseWriteIn>() },
        { nameof(FuseFsyncIn), 16, Unsafe.SizeOf<FuseFsyncIn>() },
        { nameof(FuseSetxattrIn), 16, Unsafe.SizeOf<FuseSetxattrIn>() },
        { nameof(FuseGetxattrIn), 8, Unsafe.SizeOf<FuseGetxattrIn>() },
        { nameof(FuseLkIn), 48, Unsafe.SizeOf<FuseLkIn>() },
        { nameof(FuseAccessIn), 8, Unsafe.SizeOf<FuseAccessIn>() },
        { nameof(FuseInterruptIn), 8, Unsafe.SizeOf<FuseInterruptIn>() },
        { nameof(FuseBmapIn), 16, Unsafe.SizeOf<FuseBmapIn>() },
        { nameof(FuseIoctlIn), 32, Unsafe.SizeOf<FuseIoctlIn>() },
        { nameof(FusePollIn), 24, Unsafe.SizeOf<FusePollIn>() },
        { nameof(FuseFallocateIn), 32, Unsafe.SizeOf<FuseFallocateIn>() },
        { nameof(FuseLseekIn), 24, Unsafe.SizeOf<FuseLseekIn>() },
        { nameof(FuseCopyFileRangeIn), 56, Unsafe.SizeOf<FuseCopyFileRangeIn>() },
        { nameof(FuseSyncfsIn), 8, Unsafe.SizeOf<FuseSyncfsIn>() },
        { nameof(FuseNotifyRetrieveIn), 40, Unsafe.SizeOf<FuseNotifyRetrieveIn>() },
        { nameof(FuseForgetOne), 16, Unsafe.SizeOf<FuseForgetOne>() },
        { nameof(FuseEntryOut), 128, Unsafe.SizeOf<FuseEntryOut>() },
        { nameof(FuseAttrOut), 104, Unsafe.SizeOf<FuseAttrOut>() },
        { nameof(FuseStatxOut), 288, Unsafe.SizeOf<FuseStatxOut>() },
        { nameof(FuseOpenOut), 16, Unsafe.SizeOf<FuseOpenOut>() },
        { nameof(FuseWriteOut), 8, Unsafe.SizeOf<FuseWriteOut>() },
        { nameof(FuseGetxattrOut), 8, Unsafe.SizeOf<FuseGetxattrOut>() },
        { nameof(FuseLkOut), 24, Unsafe.SizeOf<FuseLkOut>() },
        { nameof(FuseBmapOut), 8, Unsafe.SizeOf<FuseBmapOut>() },
        { nameof(FuseIoctlOut), 16, Unsafe.SizeOf<FuseIoctlOut>() },
        { nameof(FusePollOut), 8, Unsafe.SizeOf<FusePollOut>() },
        { nameof(FuseLseekOut), 8, Unsafe.SizeOf<FuseLseekOut>() },
        { nameof(FuseCopyFileRangeOut), 8, Unsafe.SizeOf<FuseCopyFileRangeOut>() },
        { nameof(FuseDirent), 24, Unsafe.SizeOf<FuseDirent>() },
        { nameof(FuseDirentPlus), 152, Unsafe.SizeOf<FuseDirentPlus>() },
        { nameof(FuseInHeader), 40, Unsafe.SizeOf<FuseInHeader>() },
        { nameof(FuseOutHeader), 16, Unsafe.SizeOf<FuseOutHeader>() },
        { nameof(FuseAttr), 88, Unsafe.SizeOf<FuseAttr>() },
        { nameof(FuseKstatfs), 80, Unsafe.SizeOf<FuseKstatfs>() },
        { nameof(FuseFileLock), 24, Unsafe.SizeOf<FuseFileLock>() },
        { nameof(FuseSxTime), 16, Unsafe.SizeOf<FuseSxTime>() },
        { nameof(FuseStatx), 256, Unsafe.SizeOf<FuseStatx>() },
        { nameof(FuseBackingMap), 16, Unsafe.SizeOf<FuseBackingMap>() },
        { nameof(FuseInitIn), 64, Unsafe.SizeOf<FuseInitIn>() },
        { nameof(FuseInitOut), 64, Unsafe.SizeOf<FuseInitOut>() },
        { nameof(FuseNotifyInvalInodeOut), 24, Unsafe.SizeOf<FuseNotifyInvalInodeOut>() },
        { nameof(FuseNotifyInvalEntryOut), 16, Unsafe.SizeOf<FuseNotifyInvalEntryOut>() },
        { nameof(FuseNotifyDeleteOut), 24, Unsafe.SizeOf<FuseNotifyDeleteOut>() },
        { nameof(FuseNotifyPollWakeupOut), 8, Unsafe.SizeOf<FuseNotifyPollWakeupOut>() },
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void StructureHasTheKernelsSize(string name, int expected, int actual) => Assert.Equal((name, expected), (name, actual));

    [Fact]
    public void EntryHoldsItsAttributesAtOffset40()
    {
        var entry = new FuseEntryOut { Attr = new FuseAttr { Ino = 0x1122334455667788, Mode = 0x81a4 } };
        Span<byte> bytes = System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<FuseEntryOut>(ref entry));
        Assert.Equal(0x88, bytes[40]);
        Assert.Equal(0xa4, bytes[40 + 60]);
    }

    [Fact]
    public void StatxHoldsItsTimesWhereStatx2Does()
    {
        var statx = new FuseStatx { Atime = new() { Seconds = 1 }, Btime = new() { Seconds = 2 }, Ctime = new() { Seconds = 3 }, Mtime = new() { Seconds = 4 }, RdevMajor = 5 };
        Span<byte> bytes = System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<FuseStatx>(ref statx));
        Assert.Equal([1, 2, 3, 4, 5], [bytes[64], bytes[80], bytes[96], bytes[112], bytes[128]]);
    }

    [Fact]
    public void InitFlagsAboveBit31AreThoseOfFlags2()
    {
        Assert.Equal(1u << 5, (uint)((ulong)FuseInitFlags.PASSTHROUGH >> 32));
        Assert.Equal(1u << 7, (uint)((ulong)FuseInitFlags.HAS_RESEND >> 32));
        Assert.Equal(1u << 9, (uint)((ulong)FuseInitFlags.OVER_IO_URING >> 32));
    }
}
