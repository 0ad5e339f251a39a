using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

/// <summary>Random changes of volumes and their copies, copies of copies, deletions in any order and deaths of the server, compared with a model that counts references.</summary>
internal sealed class VolumeFamily(VolumeCloneTests server, int seed)
{
    private const int VolumesMax = 6;
    private const int FilesMax = 12;
    private readonly Random _random = new(seed);
    private readonly List<Volume> _volumes = [];
    private readonly FakeStorage[] _storage = [new(), new()];
    private readonly Dictionary<string, int> _done = [];
    private uint _lastId = 1;
    private int _lastName;

    public async Task RunAsync(int steps)
    {
        try
        {
            server.Use(_storage);
            _volumes.Add(new Volume(1, await server.OpenAsync("tmp")));
            for (var step = 0; step < steps; step++)
            {
                var what = await StepAsync();
                _done[what] = _done.GetValueOrDefault(what) + 1;
                var missing = Referenced().Except(Stored()).ToArray();
                Assert.True(missing.Length == 0, $"seed {seed}, step {step}, {what}: block {missing.FirstOrDefault():x} is deleted and referred to");
                if (step % 50 == 49)
                {
                    await SettledAsync($"seed {seed}, step {step}");
                    await CheckContentAsync();
                }
            }

            Assert.Equal(10, _done.Count);
            while (_volumes.Count > 0)
            {
                await DeleteAsync(_volumes[_random.Next(_volumes.Count)]);
                Assert.Subset(Stored(), Referenced());
            }

            await SettledAsync($"seed {seed}, the end");
            Assert.Empty(Stored());
            await server.EventuallyAsync(server.NothingIsDeletedAnyMore, "deleted volumes are forgotten");
        }
        finally
        {
            _volumes.ForEach(v => v.Node.Dispose());
            Array.ForEach(_storage, s => s.Dispose());
        }
    }

    private HashSet<ulong> Referenced() => [.. _volumes.SelectMany(v => v.Files.Values.Concat(v.Unnamed.Values)).SelectMany(f => f.Blocks)];

    private HashSet<ulong> Stored() => [.. _storage.SelectMany(s => s.Blocks)];

    /// <summary>Everything that nobody refers to is deleted, without waiting for a scrubber.</summary>
    private Task SettledAsync(string when) => server.EventuallyAsync(() => Stored().SetEquals(Referenced()), $"{when}: blocks without references are deleted");

    private async Task<string> StepAsync()
    {
        if (_volumes.Count == 0)
        {
            // Not a copy of anything: the family begins anew.
            _volumes.Add(await server.CreateAsync(++_lastId));
        }

        var volume = _volumes[_random.Next(_volumes.Count)];
        var name = volume.Files.Count == 0 ? "" : volume.Files.Keys.ElementAt(_random.Next(volume.Files.Count));
        switch (_random.Next(100))
        {
            case < 6:
                return await CloneAsync(volume);
            case < 9:
                await DeleteAsync(volume);
                return "delete";
            case < 11:
                await server.DieAsync(_storage, whenSettled: _random.Next(2) == 0);
                return "die";
            case < 15:
                await ScrubAsync();
                return "scrub";
            case < 40 when name.Length > 0:
                await OverwriteAsync(volume, volume.Files[name]);
                return "overwrite";
            case < 60 when name.Length > 0:
                return await UnlinkAsync(volume, name);
            case < 70 when name.Length > 0 && volume.Files.Count < FilesMax:
                await CopyRangeAsync(volume, volume.Files[name]);
                return "copy range";
            case < 75 when volume.Unnamed.Count > 0:
                var handle = volume.Unnamed.Keys.First();
                volume.Unnamed.Remove(handle);
                Assert.Equal(Status.OK, (await volume.Node.CallAsync<CloseRequest, Empty>(new(handle))).Status);
                return "close";
            default:
                await WriteAsync(volume);
                return "write";
        }
    }

    private async Task<string> CloneAsync(Volume volume)
    {
        if (_volumes.Count == VolumesMax)
        {
            await DeleteAsync(volume);
            return "delete";
        }

        var id = ++_lastId;
        Assert.Equal(Status.OK, (await server.CloneAsync(volume.Id, id, $"v{id}")).Status);
        var copy = new Volume(id, await server.OpenAsync($"v{id}"));
        foreach (var (name, file) in volume.Files)
        {
            copy.Files.Add(name, new ModelFile(file.Ino, [.. file.Blocks]));
        }

        _volumes.Add(copy);
        return "clone";
    }

    private async Task DeleteAsync(Volume volume)
    {
        _volumes.Remove(volume);
        volume.Node.Dispose();
        await server.DeleteAsync(volume.Id);
    }

    private async Task ScrubAsync()
    {
        var stored = Stored().ToArray();
        var garbage = await server.CheckAsync(stored);
        var referenced = Referenced();
        Assert.DoesNotContain(garbage, referenced.Contains);
    }

    private async Task WriteAsync(Volume volume)
    {
        if (volume.Files.Count >= FilesMax)
        {
            await OverwriteAsync(volume, volume.Files.Values.First());
            return;
        }

        var (name, file) = await MakeAsync(volume);
        for (var count = _random.Next(1, 4); count > 0; count--)
        {
            file.Blocks.Add(await NewBlockAsync(volume));
        }

        volume.Files.Add(name, file);
        await CommitAsync(volume, file, 0, file.Blocks);
    }

    private async Task OverwriteAsync(Volume volume, ModelFile file)
    {
        var index = _random.Next(file.Blocks.Count);
        file.Blocks[index] = await NewBlockAsync(volume);
        await CommitAsync(volume, file, index, [file.Blocks[index]]);
    }

    private async Task<string> UnlinkAsync(Volume volume, string name)
    {
        volume.Files.Remove(name, out var file);
        var isOpen = _random.Next(3) == 0;
        if (isOpen)
        {
            var handle = volume.Node.NewHandle();
            Assert.Equal(Status.OK, (await volume.Node.CallAsync<OpenRequest, OpenReply>(new(file!.Ino, handle, OpenFlags.None))).Status);
            volume.Unnamed.Add(handle, file);
        }

        await VolumeCloneTests.UnlinkAsync(volume.Node, name);
        return isOpen ? "unlink open" : "unlink";
    }

    private async Task CopyRangeAsync(Volume volume, ModelFile source)
    {
        var (name, file) = await MakeAsync(volume);
        var count = _random.Next(1, source.Blocks.Count + 1);
        file.Blocks.AddRange(source.Blocks.Take(count));
        volume.Files.Add(name, file);
        var copied = await volume.Node.CallAsync<CloneRequest, CloneReply>(new(source.Ino, 0, file.Ino, 0, (ulong)count * 4096));
        Assert.Equal((Status.OK, (ulong)count * 4096), (copied.Status, copied.Value.Copied));
    }

    private async Task<(string Name, ModelFile File)> MakeAsync(Volume volume)
    {
        var name = $"f{++_lastName}";
        var ino = await volume.Node.NewInoAsync();
        Assert.Equal(Status.OK, (await volume.Node.CallAsync<MknodRequest, NameReply>(new(Ino.Root, ino, TestNode.Name(name), 0x81A4, 0, 0, 0, default))).Status);
        return (name, new ModelFile(ino, []));
    }

    private async Task<ulong> NewBlockAsync(Volume volume)
    {
        var block = await volume.Node.NewBlockAsync();
        _storage[ServerOf(block) - 1].Put(block);
        return block;
    }

    private static uint ServerOf(ulong block) => 1 + (uint)(block % 2);

    private static async Task CommitAsync(Volume volume, ModelFile file, int index, IEnumerable<ulong> blocks)
    {
        Extent[] extents = [.. blocks.Select((block, i) => new Extent((ulong)(index + i) * 4096, 4096, block, 0, ServerOf(block)))];
        Assert.Equal(Status.OK, (await volume.Node.CallAsync<CommitRequest, CommitReply>(new(file.Ino, CommitFlags.None, 0, extents, default, 0))).Status);
    }

    /// <summary>Every volume has the files of the model, made of the blocks of the model.</summary>
    private async Task CheckContentAsync()
    {
        foreach (var volume in _volumes)
        {
            var files = await VolumeCloneTests.FilesAsync(volume.Node);
            Assert.Equal(volume.Files.ToDictionary(f => f.Key, f => f.Value.Ino), files);
            foreach (var file in volume.Files.Values)
            {
                Assert.Equal(file.Blocks, await VolumeCloneTests.BlocksAsync(volume.Node, file.Ino));
            }
        }
    }

    /// <summary>A volume as it must be.</summary>
    internal sealed record Volume(uint Id, TestNode Node)
    {
        public SortedDictionary<string, ModelFile> Files { get; } = new(StringComparer.Ordinal);

        /// <summary>Files without a name, by the handle that keeps them.</summary>
        public Dictionary<ulong, ModelFile> Unnamed { get; } = [];
    }

    /// <summary>A file of blocks of one page.</summary>
    internal sealed record ModelFile(ulong Ino, List<ulong> Blocks);
}
