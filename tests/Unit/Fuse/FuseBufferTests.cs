using System.Runtime.InteropServices;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public unsafe partial class FuseBufferTests
{
    private const int PageBytes = 4096;

    /// <summary>While it makes a page for a process that is being killed, the kernel gives the request up for which it needs the page: its program hears EIO.</summary>
    [Fact]
    public void WhatTheKernelFillsHasAllItsPages()
    {
        const int Capacity = 1 << 20;
        using FuseBuffer buffer = new(Capacity, receives: true);
        byte* start = (byte*)((nuint)buffer.Start & ~(nuint)(PageBytes - 1));
        byte[] pages = new byte[(int)((buffer.Start - start + Capacity + PageBytes - 1) / PageBytes)];
        fixed (byte* resident = pages)
        {
            Assert.Equal(0, MInCore(start, (nuint)pages.Length * PageBytes, resident));
        }
        Assert.All(pages, page => Assert.Equal(1, page & 1));
    }

    [Fact]
    public void WhatNobodyNeedsIsFreed()
    {
        var pool = FuseBufferPool.For(54_321);
        FuseBuffer[] buffers = [.. Enumerable.Range(0, 10).Select(_ => pool.Rent())];
        Array.ForEach(buffers, pool.Return);
        Assert.Equal(10, pool.Idle);
        Assert.True(SpinWait.SpinUntil(() => !FuseBufferPool.TrimAll() || pool.Idle == 0, TimeSpan.FromSeconds(30)));
        Assert.Equal(0, pool.Idle);
    }

    [LibraryImport("libc", EntryPoint = "mincore", SetLastError = true)]
    private static partial int MInCore(void* start, nuint length, byte* resident);
}
