using EphemeralFs.Client;
using EphemeralFs.Client.Blocks;
using EphemeralFs.Client.Files;
using EphemeralFs.Client.State;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;
using EphemeralFs.StorageServer;
using EphemeralFs.StorageServer.Tiers;

namespace EphemeralFs.Tests.Integration.Client;

/// <summary>A metadata server and storage servers in this process, over unix sockets, with one volume named <c>v</c>.</summary>
internal sealed class MiniCluster : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("efs-mini-").FullName;
    private readonly ulong _limitBytes;
    private readonly int _sessionTimeoutMs;
    private readonly List<StorageHost?> _storage = [];

    public MiniCluster(int storageServers = 2, ulong limitBytes = 0, long tierBytes = 256 << 20, int sessionTimeoutMs = 10_000)
    {
        _limitBytes = limitBytes;
        _sessionTimeoutMs = sessionTimeoutMs;
        for (var i = 0; i < storageServers; i++)
        {
            Directory.CreateDirectory(Path.Combine(_directory, $"tier{i}"));
            _storage.Add(null);
            StartStorage(i, tierBytes);
        }

        StartMetadata();
        using var admin = new RpcClient(MetadataEndpoint);
        var created = admin.CallAsync<CreateVolumeRequest, VolumeStatus>(new(1, "v", _limitBytes, 0)).AsTask().GetAwaiter().GetResult();
        Assert.Equal(Status.OK, created.Status);
    }

    public MetadataHost Metadata { get; private set; } = null!;

    public Endpoint MetadataEndpoint => Endpoint.Unix(Path.Combine(_directory, "m.sock"));

    public void StartMetadata()
    {
        Metadata = new MetadataHost(new MetadataOptions { StateDirectory = _directory, Endpoint = MetadataEndpoint, SessionTimeoutMs = _sessionTimeoutMs });
        Metadata.UpdateServers(View());
        Metadata.Start();
    }

    public void StartStorage(int index, long tierBytes = 256 << 20)
    {
        var host = new StorageHost(new StorageOptions
        {
            Endpoint = StorageEndpoint(index),
            Name = $"s{index}",
            StateDirectory = _directory,
            Tiers = [new TierOptions(TierClass.Ssd, Path.Combine(_directory, $"tier{index}"), tierBytes)],
        });
        host.Start();
        _storage[index] = host;
    }

    public void StopStorage(int index)
    {
        _storage[index]!.Dispose();
        _storage[index] = null;
    }

    public ServerStatus[] View() => [.. _storage.Select((s, i) => new ServerStatus(
        ServerRole.Storage, (uint)i + 1, $"s{i}", StorageEndpoint(i).Text, "", 0, true, 0, s?.Tiers ?? [], []))];

    /// <summary>Ends a session at the server, as its time-out would.</summary>
    public async Task EndSessionAsync(CallHeader session)
    {
        using var admin = new RpcClient(MetadataEndpoint);
        Assert.Equal(Status.OK, (await admin.CallAsync<OpenSessionRequest, OpenSessionReply>(new("v", "node", session.Session, session.Epoch, ulong.MaxValue))).Status);
        Assert.Equal(Status.OK, (await admin.CallAsync<CloseSessionRequest, Empty>(default, session)).Status);
    }

    public TestNode NewNode(string name, long cacheBytes = 16 << 20, string volume = "v") => new(this, name, cacheBytes, volume);

    /// <summary>A node that another one has to let in: the test may run on that one's receive thread just now.</summary>
    public async Task<TestNode> JoinAsync(string name)
    {
        await Task.Yield();
        return NewNode(name);
    }

    public void Dispose()
    {
        Metadata.Dispose();
        _storage.ForEach(s => s?.Dispose());
        Directory.Delete(_directory, recursive: true);
    }

    private Endpoint StorageEndpoint(int index) => Endpoint.Unix(Path.Combine(_directory, $"s{index}.sock"));
}

/// <summary>A node: memory that survives <see cref="Restart"/>, and a client on top of it.</summary>
internal sealed class TestNode : IKernelCache, IDisposable
{
    private readonly MiniCluster _cluster;
    private readonly string _name;
    private readonly string _volume;
    private readonly SharedMemory _memory;
    private readonly StorageServers _servers = new();
    private ulong _unique;

    public TestNode(MiniCluster cluster, string name, long cacheBytes, string volume)
    {
        _cluster = cluster;
        _name = name;
        _volume = volume;
        Assert.Equal(Errno.OK, SharedMemory.Create(name, NodeMemory.SizeFor(cacheBytes), allocate: false, out var memory));
        _memory = memory!;
        _servers.Update(cluster.View());
        Volume = Open();
        Assert.Equal(Status.OK, Opened);
    }

    /// <summary>What opening or resuming the session came to.</summary>
    public Status Opened { get; private set; }

    public VolumeClient Volume { get; private set; }

    public OpenFiles Files => Volume.Files;

    public List<ulong> Invalidated { get; } = [];

    /// <summary>What the memory says of a file that the server has not heard of.</summary>
    public bool TryGetCreateRecord(ulong ino, out CreateRecord found)
    {
        foreach (ref readonly var record in Memory.Creates)
        {
            if (record.Ino == ino)
            {
                found = record;
                return true;
            }
        }

        found = default;
        return false;
    }

    /// <summary>Puts it back, as if the answer had not been heard.</summary>
    public void PutCreateRecord(in CreateRecord record) => Memory.Creates[0] = record;

    /// <summary>The daemon dies and another one takes over.</summary>
    public void Restart()
    {
        Volume.Dispose();
        Volume = Open();
    }

    /// <summary>The same, and something happens when the other one is there and has not begun to obey.</summary>
    public async Task RestartAsync(Func<VolumeClient, Task> beforeOpening)
    {
        Volume.Dispose();
        Volume = Prepare();
        await beforeOpening(Volume);
        Opened = await Volume.OpenAsync();
    }

    /// <summary>Ends the session at the server and has the node find out; completes when it has another one.</summary>
    public async Task<IReadOnlyList<LostFile>> LoseSessionAsync()
    {
        var lost = new TaskCompletionSource<IReadOnlyList<LostFile>>();
        var reopened = new TaskCompletionSource<Status>();
        Volume.Fenced += (_, files) => lost.TrySetResult(files);
        Volume.Session.Reopened += status => reopened.TrySetResult(status);
        await _cluster.EndSessionAsync(Volume.Session.Header!.Value);

        // Whatever is asked first finds out: this, or what the node sends by itself.
        await Volume.Session.QueryAsync<GetAttrRequest, EntryReply>(new(Ino.Root));
        Assert.Equal(Status.OK, await reopened.Task);
        return await lost.Task;
    }

    public async Task<T> Do<T>(Func<EphemeralFs.Client.Session.Operation, ValueTask<T>> work)
    {
        var operation = Volume.Session.Begin(Interlocked.Add(ref _unique, 2));
        var result = await work(operation);
        operation.Complete();
        return result;
    }

    public async Task<ulong> Create(string name, HandleFlags flags = HandleFlags.Write)
    {
        var (status, handle, _, _) = await Do(o => Volume.Opener.CreateAsync(o, Ino.Root, Bytes(name), 0x81A4, 0, 0, flags, OpenFlags.Write));
        Assert.Equal(Status.OK, status);
        return handle;
    }

    public async Task<ulong> Open(string name, HandleFlags flags = HandleFlags.None)
    {
        var (status, attributes, _) = await Volume.Namespace.LookupAsync(Ino.Root, Bytes(name));
        Assert.Equal(Status.OK, status);
        var open = (flags & HandleFlags.Write) != 0 ? OpenFlags.Write : OpenFlags.None;
        var (opened, handle, _, _) = await Do(o => Volume.Opener.OpenAsync(o, attributes.Ino, flags, open));
        Assert.Equal(Status.OK, opened);
        return handle;
    }

    public async Task Write(ulong handle, ulong offset, byte[] data)
    {
        var (errno, written, _) = await Do(o => Files.WriteAsync(o, handle, offset, data, false));
        Assert.Equal(Errno.OK, errno);
        Assert.Equal(data.Length, written);
    }

    public async Task<byte[]> Read(ulong handle, ulong offset, int length)
    {
        var target = new byte[length];
        var (errno, read) = await Do(o => Files.ReadAsync(o, handle, offset, target));
        Assert.Equal(Errno.OK, errno);
        return target[..read];
    }

    public async Task Flush(ulong handle) => Assert.Equal(Errno.OK, await Files.FlushAsync(handle));

    public async Task Close(ulong handle)
    {
        await Flush(handle);
        await Do(async o =>
        {
            await Files.CloseAsync(o, handle);
            return 0;
        });
    }

    public ValueTask InvalidateAsync(ulong ino)
    {
        lock (Invalidated)
        {
            Invalidated.Add(ino);
        }

        return default;
    }

    public ValueTask ForgetNameAsync(ulong parent, ReadOnlyMemory<byte> name) => default;

    public ValueTask RecallNameAsync(ulong parent, ReadOnlyMemory<byte> name, long untilMs, bool expireOnly) => default;

    public ValueTask RecallAttributesAsync(ulong ino) => default;

    public IReadOnlyDictionary<ulong, string> FindPaths(IReadOnlySet<ulong> inodes) => inodes.ToDictionary(ino => ino, ino => $"/somewhere/{ino}");

    public static byte[] Bytes(string text) => System.Text.Encoding.UTF8.GetBytes(text);

    public void Dispose()
    {
        Volume.Dispose();
        _servers.Dispose();
        _memory.Dispose();
    }

    private VolumeClient Open()
    {
        var volume = Prepare();
        Opened = volume.OpenAsync().AsTask().GetAwaiter().GetResult();
        return volume;
    }

    private NodeMemory Memory => new(_memory);

    private VolumeClient Prepare() => new(
            _cluster.MetadataEndpoint,
            _volume,
            _name,
            Memory,
            new BlockStore(_servers, new BlockCache(8 << 20), 10_000),
            this,
            10_000);
}
