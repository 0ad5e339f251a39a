using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Model.Leases;

/// <summary>An answer as the kernel sees it.</summary>
internal readonly record struct FuseAnswer(Errno Errno, byte[] Data)
{
    public T As<T>(int offset = 0)
        where T : unmanaged => MemoryMarshal.Read<T>(Data.AsSpan(offset));
}

/// <summary>A cached name: an inode, or that there is none (0).</summary>
internal sealed class KernelDentry
{
    public ulong Ino { get; set; }

    /// <summary><c>fuse_dentry_time</c>, microseconds.</summary>
    public long UntilUs { get; set; }
}

/// <summary>An inode that the kernel knows.</summary>
internal sealed class KernelInode(ulong ino)
{
    public ulong Ino => ino;

    public FuseAttr Attr { get; set; }

    /// <summary><c>fi->attr_version</c>.</summary>
    public long Version { get; set; }

    /// <summary><c>fi->i_time</c>, microseconds; 0 when the attributes were invalidated.</summary>
    public long UntilUs { get; set; }

    /// <summary>What is cached of its bytes; null for nothing.</summary>
    public byte[]? Page { get; set; }

    /// <summary>The inode's lock: of a directory shared by look-ups, held alone by what changes names in it.</summary>
    public FifoLock Lock { get; } = new();

    public FifoLock PageLock { get; } = new();

    public int Opens { get; set; }

    /// <summary>How often an answer of before has made it shorter than the kernel knew.</summary>
    public int SetsBack { get; set; }

    /// <summary>Whether the last attributes that came were left aside.</summary>
    public bool IsOvertaken { get; set; }
}

/// <summary>
/// A node's kernel as far as leases care, after fs/fuse/dir.c, inode.c and dev.c of Linux 6.12: names and attributes with time-outs, attribute versions, the
/// directory's lock, pages that are locked while they are read and written, requests that a new daemon is sent again. It survives its daemons.
/// </summary>
internal sealed unsafe partial class SimulatedKernel
{
    private readonly Simulation _simulation;
    private readonly LeaseModel _model;
    private readonly string _name;
    private readonly Queue<byte[]> _pending = new();
    private readonly Dictionary<ulong, byte[]> _processing = [];
    private readonly Dictionary<ulong, (TaskCompletionSource<FuseAnswer> Answer, ProgramCall? Call)> _waiting = [];
    private readonly Dictionary<ulong, ProgramCall?> _calls = [];
    private ulong _lastUnique;
    private long _version = 1;

    public SimulatedKernel(Simulation simulation, LeaseModel model, string name)
    {
        (_simulation, _model, _name) = (simulation, model, name);
        Actor = new Actor(simulation, name + "-kernel");
        Inodes[Ino.Root] = new KernelInode(Ino.Root);
        var init = new FuseInitIn { Major = 7, Minor = 45, MaxReadahead = 131072, Flags = 0x73fffffb, Flags2 = 0x5fd };
        _pending.Enqueue(Build(FuseOpcode.INIT, _lastUnique += 2, 0, init));
    }

    public Actor Actor { get; }

    public Dictionary<(ulong Parent, string Name), KernelDentry> Dentries { get; } = [];

    public Dictionary<ulong, KernelInode> Inodes { get; } = [];

    /// <summary>Calls of programs that are under way.</summary>
    public int ActiveCalls { get; set; }

    /// <summary>Called when there is something to read.</summary>
    public Action OnPending { get; set; } = static () => { };

    /// <summary>Requests that no daemon has read.</summary>
    public int Pending => _pending.Count;

    /// <summary>The call of a program behind a request's number; null for what no program waits for.</summary>
    public ProgramCall? CallOf(ulong unique) => _calls.GetValueOrDefault(unique);

    /// <summary>A request; completes when the program runs on with the answer.</summary>
    public Task<FuseAnswer> RequestAsync<T>(ProgramCall? call, FuseOpcode opcode, ulong node, in T input, params string[] names)
        where T : unmanaged
    {
        var unique = _lastUnique += 2;
        _calls[unique] = call;
        var waiting = new TaskCompletionSource<FuseAnswer>();
        _waiting[unique] = (waiting, call);
        Submit(Build(opcode, unique, node, input, names));
        return waiting.Task;
    }

    /// <summary>WRITE, which has bytes behind its input.</summary>
    public Task<FuseAnswer> WriteAsync(ProgramCall call, ulong node, ulong handle, byte[] data)
    {
        var unique = _lastUnique += 2;
        _calls[unique] = call;
        var waiting = new TaskCompletionSource<FuseAnswer>();
        _waiting[unique] = (waiting, call);
        Submit(Build(FuseOpcode.WRITE, unique, node, new FuseWriteIn { Fh = handle, Size = (uint)data.Length }, [], data));
        return waiting.Task;
    }

    /// <summary>A message without an answer.</summary>
    public void Forget(ulong node) => Submit(Build(FuseOpcode.FORGET, _lastUnique += 2, node, new FuseForgetIn { Nlookup = 1 }));

    private void Submit(byte[] message)
    {
        var header = MemoryMarshal.Read<FuseInHeader>(message);
        _simulation.Note($"{_name} kernel: {header.Opcode} {header.NodeId} unique {header.Unique}");
        _pending.Enqueue(message);
        OnPending();
    }

    private static byte[] Build<T>(FuseOpcode opcode, ulong unique, ulong node, in T input, string[]? names = null, byte[]? data = null)
        where T : unmanaged
    {
        List<byte> message = [.. new byte[sizeof(FuseInHeader)]];
        if (typeof(T) != typeof(Nothing))
        {
            message.AddRange(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in input)));
        }

        foreach (var name in names ?? [])
        {
            message.AddRange(Encoding.UTF8.GetBytes(name));
            message.Add(0);
        }

        message.AddRange(data ?? []);
        byte[] bytes = [.. message];
        MemoryMarshal.Write(bytes, new FuseInHeader { Length = (uint)bytes.Length, Opcode = opcode, Unique = unique, NodeId = node, Pid = 1 });
        return bytes;
    }

    private void Answered(ulong unique, Errno errno, byte[] data)
    {
        if (!_processing.Remove(unique) || !_waiting.Remove(unique & ~FuseAbi.UniqueResend, out var waiting))
        {
            return;
        }

        // The kernel takes the answer in when the program that asked runs again.
        _simulation.Note($"{_name} kernel: {unique:x} = {errno}");
        _simulation.After(_simulation.Delay(50, 5_000, 400_000), Actor, () => waiting.Answer.SetResult(new FuseAnswer(errno, data)));
    }

    private void Resend()
    {
        foreach (var (unique, request) in _processing.ToArray())
        {
            byte[] again = [.. request];
            BitConverter.TryWriteBytes(again.AsSpan(8), unique | (_model.Fault.LosesResendBit ? 0 : FuseAbi.UniqueResend));
            _pending.Enqueue(again);
        }

        _processing.Clear();
    }

    /// <summary>A daemon's descriptor. Each daemon has its own, so that a dead one's answers go nowhere.</summary>
    internal sealed class Channel(SimulatedKernel kernel, Actor daemon) : FuseChannel
    {
        /// <summary>How many messages may be read now.</summary>
        public int Budget { get; set; } = 1;

        public override Errno Receive(byte* buffer, int capacity, out int length)
        {
            length = 0;
            if (!kernel._simulation.IsOnThread() || Budget == 0 || !kernel._pending.TryDequeue(out var message))
            {
                return Errno.EAGAIN;
            }

            Budget--;
            message.CopyTo(new Span<byte>(buffer, capacity));
            length = message.Length;
            var header = MemoryMarshal.Read<FuseInHeader>(message);
            if (header.Opcode is not FuseOpcode.FORGET)
            {
                kernel._processing[header.Unique] = message;
            }

            return Errno.OK;
        }

        public override Errno Send(IoVec* segments, int count)
        {
            List<byte> bytes = [];
            for (var i = 0; i < count; i++)
            {
                bytes.AddRange(new ReadOnlySpan<byte>(segments[i].Base, (int)segments[i].Length));
            }

            byte[] message = [.. bytes];
            var header = MemoryMarshal.Read<FuseOutHeader>(message);
            kernel._model.MayDieNow(daemon);
            if (!kernel._simulation.IsOnThread() || daemon.IsDead)
            {
                return Errno.ECANCELED;
            }

            if (header.Unique == 0)
            {
                Assert.Equal((int)FuseNotifyCode.RESEND, header.Error);
                kernel.Resend();
            }
            else
            {
                kernel.Answered(header.Unique, (Errno)(-header.Error), message[sizeof(FuseOutHeader)..]);
                kernel._model.MayDieNow(daemon);
            }

            return Errno.OK;
        }

        public override void Wake(int osThreadId)
        {
        }
    }
}
