using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public class DirentWriterTests
{
    [Fact]
    public void RecordsAreReadBackByTheKernelsRules()
    {
        byte[] buffer = Enumerable.Repeat((byte)0xee, 4096).ToArray();
        var writer = new DirentWriter(buffer);
        for (int i = 1; i <= 20; i++)
        {
            Assert.True(writer.TryAdd((ulong)i, (ulong)(1000 + i), 8, Encoding.UTF8.GetBytes(new string('n', i))));
        }
        ReadOnlySpan<byte> rest = writer.Written;
        Assert.Equal(0, rest.Length % 8);
        for (int i = 1; i <= 20; i++)
        {
            FuseDirent dirent = MemoryMarshal.Read<FuseDirent>(rest);
            Assert.Equal(((ulong)i, (ulong)(1000 + i), (uint)i, 8u), (dirent.Ino, dirent.Offset, dirent.NameLength, dirent.Type));
            int size = (24 + i + 7) / 8 * 8;
            Assert.Equal(new string('n', i), Encoding.UTF8.GetString(rest.Slice(24, i)));
            // Padding shows nothing of what the buffer held before.
            Assert.Equal(-1, rest[(24 + i)..size].IndexOfAnyExcept((byte)0));
            rest = rest[size..];
        }
        Assert.True(rest.IsEmpty);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(255)]
    public void WhatDoesNotFitIsNotWritten(int nameLength)
    {
        byte[] name = new byte[nameLength];
        name.AsSpan().Fill((byte)'x');
        int one = DirentWriter.SizeOf(nameLength);
        foreach (int room in new[] { 0, 1, one - 1, one, one + 1, (2 * one) - 1, 2 * one })
        {
            byte[] buffer = new byte[room + 64];
            var writer = new DirentWriter(buffer.AsSpan(0, room));
            int added = 0;
            while (writer.TryAdd(1, (ulong)added + 1, 8, name))
            {
                added++;
            }
            Assert.Equal(room / one, added);
            Assert.Equal(added * one, writer.Length);
            Assert.Equal(-1, buffer.AsSpan(writer.Length).IndexOfAnyExcept((byte)0));
        }
    }

    [Fact]
    public void PlusRecordsStartWithTheEntry()
    {
        byte[] buffer = new byte[DirentWriter.SizeOfPlus(3) + DirentWriter.SizeOfPlus(9)];
        Assert.Equal(160 - 8 + 24 + 3 + 5 - 24, DirentWriter.SizeOfPlus(3));
        var writer = new DirentWriter(buffer);
        Assert.True(writer.TryAddPlus(new FuseEntryOut { NodeId = 7, Attr = new() { Ino = 70 } }, 70, 1, 4, "abc"u8));
        Assert.True(writer.TryAddPlus(new FuseEntryOut { NodeId = 8 }, 80, 2, 8, "123456789"u8));
        Assert.False(writer.TryAddPlus(default, 90, 3, 8, "x"u8));
        FuseDirentPlus first = MemoryMarshal.Read<FuseDirentPlus>(writer.Written);
        Assert.Equal((7UL, 70UL, 70UL, 1UL, 4u), (first.Entry.NodeId, first.Entry.Attr.Ino, first.Dirent.Ino, first.Dirent.Offset, first.Dirent.Type));
        FuseDirentPlus second = MemoryMarshal.Read<FuseDirentPlus>(writer.Written[DirentWriter.SizeOfPlus(3)..]);
        Assert.Equal((8UL, 9u), (second.Entry.NodeId, second.Dirent.NameLength));
        Assert.Equal(buffer.Length, writer.Length);
    }
}
